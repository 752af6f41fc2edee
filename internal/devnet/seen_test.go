package devnet

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/discover"
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	libp2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/p2p"
)

// TestSeen: what a peer does is in the contact.
func TestSeen(t *testing.T) {
	t.Parallel()
	d := start(t, fast(3))
	c := newCrawler(t)
	n := d.Truth().Nodes[0]
	var seen []Contact
	for i := range 2 {
		id, err := c.connect(t.Context(), n.Multiaddrs[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.handshake(t.Context(), id, 2, d.ourStatus()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.metaData(t.Context(), id, 3); err != nil {
			t.Fatal(err)
		}
		_, _ = c.request(t.Context(), id, p2p.ProtoGoodbyeV1, eth2.MarshalUint64(129), 8)
		eventually(t, "the end of the connection on both sides", func() bool {
			seen = d.Seen(c.ID().String())
			return len(c.Network().ConnsToPeer(id)) == 0 && len(seen) == i+1 && !seen[i].Closed.IsZero()
		})
	}
	for _, s := range seen {
		if s.NodePeerID != n.PeerID || !s.Inbound || s.Transport != transportOf(n.Multiaddrs[0]) || !s.Address.IsValid() || s.Others != 0 {
			t.Errorf("contact %+v", s)
		}
		if s.Requests != (Requests{Status: 1, MetaData: 1, Goodbye: 1}) || !s.SaidGoodbye || s.Goodbye != 129 {
			t.Errorf("requests %+v, goodbye %d", s.Requests, s.Goodbye)
		}
		if delay, ok := s.StatusDelay(); !ok || delay < 0 || s.Statuses[0].Digest != s.Statuses[0].Want {
			t.Errorf("statuses %+v", s.Statuses)
		}
	}
	if gaps := Gaps(seen); len(gaps) != 1 || gaps[0] < 0 {
		t.Errorf("gaps %v, want one", gaps)
	}
}

// TestIPv6: nodes at ::1 answer there, and their records say so.
func TestIPv6(t *testing.T) {
	t.Parallel()
	cfg := fast(8)
	cfg.IPv6 = 1
	d := start(t, cfg)
	found := findAll(t, d.Network().Bootnodes)
	c := newCrawler(t)
	for _, n := range d.Truth().Nodes[bootnodes:] {
		if !strings.HasPrefix(n.Multiaddrs[0], "/ip6/::1/") {
			t.Skip("no IPv6 loopback here")
		}
		for _, address := range n.Multiaddrs {
			id, err := c.connect(t.Context(), address)
			if err != nil {
				t.Fatalf("%s: %v", address, err)
			}
			if err := c.Network().ClosePeer(id); err != nil {
				t.Error(err)
			}
		}
		var id eth2.NodeID
		if err := id.UnmarshalText([]byte(n.NodeID)); err != nil {
			t.Fatal(err)
		}
		node := found[[32]byte(id)]
		if node == nil {
			t.Fatalf("node %d not found over IPv4", n.Index)
		}
		if r := enr.FromNode(node); !r.IP6.IsLoopback() || r.TCP != 0 || r.QUIC != 0 || (r.TCP6 != 0) != slices.Contains(n.Transports, "tcp") || (r.QUIC6 != 0) != slices.Contains(n.Transports, "quic") {
			t.Errorf("node %d: record %+v", n.Index, r)
		}
	}
}

// TestDialBack: nodes dial a crawler whose record they meet in discv5, once each,
// and send their Status first; unlisted ones are met in no other way.
func TestDialBack(t *testing.T) {
	t.Parallel()
	cfg := fast(12)
	cfg.Faults = Mix{Unlisted: 0.3}
	cfg.DialBack = true
	dialBacks(t, cfg, 6, func(n Node) bool { return n.Persona == Unlisted || n.Index%dialBackEvery == 0 })
}

// Nodes without a port in their record dial strangers without being asked to.
func TestNoPortDialsStrangers(t *testing.T) {
	t.Parallel()
	cfg := fast(12)
	cfg.Faults = Mix{NoPort: 0.3}
	dialBacks(t, cfg, 4, func(n Node) bool { return n.Persona == NoPort })
}

// dialBacks expects that the nodes that dial, of which there are so many at least, dial a
// crawler, and no others.
func dialBacks(t *testing.T, cfg Config, least int, dials func(Node) bool) {
	t.Helper()
	d := start(t, cfg)
	c := newCrawler(t)
	c.joinDiscovery(t, d)
	want := make(map[string]bool)
	for _, n := range d.Truth().Nodes {
		if dials(n) {
			want[n.PeerID] = true
		}
	}
	if len(want) < least {
		t.Fatalf("%d nodes that dial, want %d", len(want), least)
	}
	eventually(t, "the Status of each node that dials", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for id, s := range c.statuses {
			if !want[id.String()] {
				t.Fatalf("%s dialled", id)
			}
			if s.ForkDigest != d.ourStatus().ForkDigest {
				t.Fatalf("%s: status %+v", id, s)
			}
		}
		return len(c.statuses) == len(want)
	})
	for _, conn := range c.Network().Conns() {
		if conn.Stat().Direction != network.DirInbound {
			t.Errorf("connection %v is not inbound", conn)
		}
	}
}

// joinDiscovery makes the crawler a discv5 node with a consensus record, and asks
// the bootnodes something, so that they know of it.
func (c *crawler) joinDiscovery(t *testing.T, d *Devnet) {
	t.Helper()
	raw, err := c.Peerstore().PrivKey(c.ID()).(*libp2pcrypto.Secp256k1PrivateKey).Raw()
	if err != nil {
		t.Fatal(err)
	}
	key, err := crypto.ToECDSA(raw)
	if err != nil {
		t.Fatal(err)
	}
	db, err := enode.OpenDB("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	local := enode.NewLocalNode(db, key)
	local.SetStaticIP(net.IPv4(127, 0, 0, 1))
	local.SetFallbackUDP(conn.LocalAddr().(*net.UDPAddr).Port)
	tcpPort, _ := c.ports()
	local.Set(gethenr.TCP(tcpPort))
	disc, err := discover.ListenV5(conn, local, discover.Config{PrivateKey: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(disc.Close)
	ask := func(bootnode string) {
		eventually(t, "a bootnode's answer", func() bool { // a busy machine takes longer than go-ethereum waits
			_, err := disc.Findnode(enode.MustParse(bootnode), []uint{256})
			return err == nil
		})
	}
	bootnodes := d.Network().Bootnodes
	ask(bootnodes[0]) // which keeps a record without eth2
	id, _ := d.Network().Schedule.ForkID(d.Network().Clock.EpochAt(time.Now()))
	local.Set(enr.Eth2Entry(id))
	for _, bootnode := range bootnodes[1:] {
		ask(bootnode)
	}
}
