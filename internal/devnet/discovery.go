package devnet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	gethlog "github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/discover"
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

const (
	// discoveryIdle keeps discv5 from checking its table: the devnet fills tables
	// itself, and tells them of new records.
	discoveryIdle = 1000 * time.Hour
	// bucketSize is discv5's k.
	bucketSize = 16
	// udpBuffer is the socket's receive buffer, in bytes: the kernel's default
	// times hundreds of nodes would be a lot for packets of 1280.
	udpBuffer = 64 << 10
)

// startRecord makes the node's record. Ports are set when they are known.
func (n *node) startRecord(db *enode.DB) {
	n.local = enode.NewLocalNode(db, n.key)
	n.local.SetStaticIP(net.IP(n.addr.AsSlice()))
}

// setForkEntries puts eth2 and nfd of epoch e into the record.
func (n *node) setForkEntries(e eth2.Epoch) {
	id, nfd := n.record.ForkID(e)
	switch n.persona {
	case NoEth2:
		return
	case BadEth2:
		n.local.Set(gethenr.WithEntry("eth2", id.MarshalSSZ()[:3]))
		return
	}
	n.local.Set(enr.Eth2Entry(id))
	n.local.Set(enr.NFDEntry(nfd))
}

// setSubnetEntries puts attnets, syncnets and cgc into the record.
func (n *node) setSubnetEntries() {
	m := n.metaData()
	switch n.persona {
	case NoEth2:
	case MalformedENR:
		n.local.Set(gethenr.WithEntry("attnets", m.Attnets[:3]))
		n.local.Set(gethenr.WithEntry("syncnets", []byte{0xff, 0xff}))
		n.local.Set(gethenr.WithEntry("cgc", []byte{0, 0, 0, 0, 0, 0, 0, 0, byte(n.cgc)}))
	default:
		n.local.Set(enr.AttnetsEntry(m.Attnets))
		n.local.Set(enr.SyncnetsEntry(*m.Syncnets))
		n.local.Set(enr.CGCEntry(*m.CustodyGroupCount))
	}
}

// startDiscovery sets the record's ports and answers discv5 on a free UDP port.
// Dead, gone and unlisted nodes get a port at which nobody answers.
func (n *node) startDiscovery() error {
	if n.tcpPort != 0 {
		n.local.Set(gethenr.TCP(n.tcpPort))
	}
	if n.quicPort != 0 {
		n.local.Set(enr.QUICEntry(n.quicPort))
	}
	if n.persona == Dead || n.persona == Gone || n.persona == Unlisted {
		port, err := n.holdUDP()
		if err != nil {
			return err
		}
		n.udpPort = port
		n.local.SetFallbackUDP(int(port))
		return nil
	}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.addr, 0)))
	if err != nil {
		return fmt.Errorf("listen for discv5: %w", err)
	}
	if err := conn.SetReadBuffer(udpBuffer); err != nil {
		conn.Close()
		return fmt.Errorf("size discv5 buffer: %w", err)
	}
	n.udpPort = portOf(conn.LocalAddr())
	n.local.SetFallbackUDP(int(n.udpPort))
	n.disc, err = discover.ListenV5(conn, n.local, discover.Config{
		PrivateKey:              n.key,
		NoFindnodeLivenessCheck: true,
		PingInterval:            discoveryIdle,
		RefreshInterval:         discoveryIdle,
		Log:                     gethlog.NewLogger(gethlog.DiscardHandler()),
	})
	if err != nil {
		conn.Close()
		return fmt.Errorf("start discv5: %w", err)
	}
	return nil
}

// routing is who is in whose discv5 table.
type routing struct {
	holders [][]int // by node: the nodes whose table has it
}

// fillTables gives every answering node the table that a long-running one would
// have: up to 16 random nodes at each distance, which the crawler can ask for.
func fillTables(nodes []*node, r *rand.Rand) routing {
	route := routing{holders: make([][]int, len(nodes))}
	records := make([]*enode.Node, len(nodes))
	for i, n := range nodes {
		records[i] = n.local.Node()
	}
	order := r.Perm(len(nodes))
	for i, n := range nodes {
		if n.disc == nil {
			continue
		}
		var filled [257]int
		// Another start for each node, so that all are in about as many tables.
		start := r.IntN(len(order))
		for k := range order {
			j := order[(start+k)%len(order)]
			if j == i || nodes[j].persona == Unlisted {
				continue
			}
			d := enode.LogDist(n.local.ID(), records[j].ID())
			if filled[d] < bucketSize && n.disc.AddKnownNode(records[j]) {
				filled[d]++
				route.holders[j] = append(route.holders[j], i)
			}
		}
	}
	return route
}

// spread replaces a node's record in the tables that have it, after it changed.
func (r routing) spread(nodes []*node, index int) {
	record := nodes[index].local.Node()
	for _, holder := range r.holders[index] {
		// A node that is already in the table is updated; the result says only
		// that it is not new.
		nodes[holder].disc.AddKnownNode(record)
	}
}
