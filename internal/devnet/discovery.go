package devnet

import (
	"fmt"
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
	// itself, and puts new records into them.
	discoveryIdle = 1000 * time.Hour
	// udpBuffer is the socket's receive buffer, in bytes: the kernel's default
	// times hundreds of nodes would be a lot for packets of 1280.
	udpBuffer = 64 << 10
)

// startRecord makes the node's record. Its endpoints are set when they are known.
//
// Every table that starts looks for seeds at 150 random places of the database, from
// each on to the next record. Without records it would read all of it 150 times, and
// it grows with each node that fails to answer. No record here was ever ponged, so
// none becomes a seed.
func (n *node) startRecord(db *enode.DB) error {
	n.local = enode.NewLocalNode(db, n.key)
	if err := db.UpdateNode(n.local.Node()); err != nil {
		return fmt.Errorf("devnet: node database: %w", err)
	}
	return nil
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

// setEndpoints puts the address and the libp2p ports into the record; of NoPort no ports.
func (l *life) setEndpoints() {
	local := l.node.local
	local.SetStaticIP(net.IP(l.addr.AsSlice()))
	if l.node.v6 {
		local.SetStaticIP(net.IPv6loopback)
	}
	if l.node.persona == NoPort {
		return
	}
	if l.tcp != 0 {
		if l.node.v6 {
			local.Set(gethenr.TCP6(l.tcp))
		} else {
			local.Set(gethenr.TCP(l.tcp))
		}
	}
	if l.quic != 0 {
		if l.node.v6 {
			local.Set(enr.QUIC6Entry(l.quic))
		} else {
			local.Set(enr.QUICEntry(l.quic))
		}
	}
}

// startDiscovery completes the record and answers discv5 on the UDP port, 0 for
// any. Dead, gone and unlisted nodes, and those that claim another's port, get one at which
// nothing answers.
func (l *life) startDiscovery(port uint16) error {
	n := l.node
	l.setEndpoints()
	if n.persona.dead() || n.persona == Gone || n.persona == Unlisted || n.persona == HostileClaim {
		port, err := l.holdUDP()
		if err != nil {
			return err
		}
		l.udp = port
		n.local.SetFallbackUDP(int(port))
		return nil
	}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.addr, port)))
	if err != nil {
		return fmt.Errorf("listen for discv5: %w", err)
	}
	if err := conn.SetReadBuffer(udpBuffer); err != nil {
		conn.Close()
		return fmt.Errorf("size discv5 buffer: %w", err)
	}
	l.udp = portOf(conn.LocalAddr())
	n.local.SetFallbackUDP(int(l.udp))
	l.disc, err = discover.ListenV5(&discoveryConn{conn, n.local.ID(), n.filter, n.roundTrip, &n.met}, n.local, discover.Config{
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
