package discv5

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

func TestFindsEveryNodeAndNewerRecords(t *testing.T) {
	nodes := newSwarm(t, 40, testForkID(1))
	f := newFinder(t, func(c *Config) {
		c.Revisit = time.Second
		c.Bootnodes = []string{nodes[0].local.Node().String()}
	})
	f.SetFork(testForkID(1), eth2.ForkDigest{})
	s := newSeen()
	run(t, f, s.found)
	s.wait(t, "all 40 nodes", func() bool { return s.count() == len(nodes) })
	for i, n := range nodes {
		if got := s.of(n.local.ID()); len(got) == 0 {
			t.Errorf("node %d was not found", i)
		}
	}

	changed := nodes[7]
	before := s.of(changed.local.ID())
	changed.local.Set(gethenr.TCP(4321))
	s.wait(t, "the newer record", func() bool {
		records := s.of(changed.local.ID())
		return records[len(records)-1].TCP == 4321
	})
	if after := s.of(changed.local.ID()); after[len(after)-1].Seq <= before[len(before)-1].Seq {
		t.Errorf("seq %d does not follow %d", after[len(after)-1].Seq, before[len(before)-1].Seq)
	}
	for id, records := range s.records {
		for i := 1; i < len(records); i++ {
			if records[i].Seq <= records[i-1].Seq {
				t.Errorf("node %v was emitted with seq %d after %d", id, records[i].Seq, records[i-1].Seq)
			}
		}
	}
}

func TestFindsForeignChainsToo(t *testing.T) {
	foreign := newSwarm(t, 5, testForkID(2))
	ours := newSwarmNode(t, testForkID(1))
	introduce([]*swarmNode{foreign[0], ours})
	f := newFinder(t, func(c *Config) { c.Bootnodes = []string{foreign[1].local.Node().String()} })
	f.SetFork(testForkID(1), eth2.ForkDigest{})
	s := newSeen()
	run(t, f, s.found)
	s.wait(t, "6 nodes", func() bool { return s.count() == 6 })
	if got := s.of(ours.local.ID()); len(got) == 0 {
		t.Error("our node behind the foreign ones was not found")
	}
}

func TestPrivateAddressesStayOut(t *testing.T) {
	nodes := newSwarm(t, 3, testForkID(1))
	f := newFinder(t, func(c *Config) {
		c.AllowPrivate = false
		c.Bootnodes = []string{nodes[0].local.Node().String()}
	})
	c := f.newCrawl(func(r enr.Record) { t.Errorf("emitted %v", r.IP4) })
	if got := len(c.table.byID); got != 0 {
		t.Errorf("%d nodes on loopback are in the table", got)
	}
}

func TestOwnRecordIsHonest(t *testing.T) {
	f := newFinder(t, func(c *Config) { c.TCPPort, c.QUICPort = 9000, 9001 })
	f.SetFork(testForkID(1), eth2.ForkDigest{9, 9, 9, 9})
	r, err := enr.Parse(f.ENR())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Errors) > 0 {
		t.Errorf("entries with errors: %v", r.Errors)
	}
	if r.IP4 != netip.MustParseAddr("127.0.0.1") || r.UDP != f.Port() || r.TCP != 9000 || r.QUIC != 9001 {
		t.Errorf("addresses %v udp %d tcp %d quic %d", r.IP4, r.UDP, r.TCP, r.QUIC)
	}
	if r.Eth2 == nil || *r.Eth2 != testForkID(1) {
		t.Errorf("eth2 = %v", r.Eth2)
	}
	if r.Attnets == nil || r.Attnets.Count() != 0 || r.Syncnets == nil || *r.Syncnets != 0 {
		t.Errorf("attnets %v syncnets %v, want none", r.Attnets, r.Syncnets)
	}
	if r.CustodyGroupCount == nil || *r.CustodyGroupCount != 4 {
		t.Errorf("cgc = %v, want 4", r.CustodyGroupCount)
	}
	if r.NFD == nil || *r.NFD != (eth2.ForkDigest{9, 9, 9, 9}) {
		t.Errorf("nfd = %v", r.NFD)
	}

	f.SetFork(testForkID(1), eth2.ForkDigest{9, 9, 9, 9})
	if again, _ := enr.Parse(f.ENR()); again.Seq != r.Seq {
		t.Errorf("seq moved from %d to %d though nothing changed", r.Seq, again.Seq)
	}
	f.SetFork(testForkID(2), eth2.ForkDigest{})
	if next, _ := enr.Parse(f.ENR()); next.Seq <= r.Seq || next.Eth2.ForkDigest != testForkID(2).ForkDigest {
		t.Errorf("after the fork: seq %d after %d, eth2 %v", next.Seq, r.Seq, next.Eth2)
	}
}

func TestAdvertise(t *testing.T) {
	f := newFinder(t, func(c *Config) { c.Advertise = netip.MustParseAddr("198.51.100.7") })
	if r, err := enr.Parse(f.ENR()); err != nil || r.IP4 != netip.MustParseAddr("198.51.100.7") {
		t.Errorf("ip = %v, error %v", r.IP4, err)
	}
}

func TestNewNamesTheBadValue(t *testing.T) {
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	key, _ := testKey(t)
	loopback := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"port in use", Config{Key: key, Listen: loopback, Port: port}, strconv.Itoa(int(port))},
		{"foreign address", Config{Key: key, Listen: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, "192.0.2.1"},
		{"short key", Config{Key: key[:31], Listen: loopback}, "31 bytes"},
		{"bootnode", Config{Key: key, Listen: loopback, Bootnodes: []string{"enr:-nonsense"}}, "enr:-nonsense"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := New(tt.cfg)
			if err == nil {
				f.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not name %q", err, tt.want)
			}
		})
	}
}

func TestTwoSocketsShareAPort(t *testing.T) {
	nodes := newSwarm(t, 3, testForkID(1))
	f := newFinder(t, func(c *Config) {
		c.Listen = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}
		c.Bootnodes = []string{nodes[0].local.Node().String()}
	})
	s := newSeen()
	run(t, f, s.found)
	s.wait(t, "3 nodes", func() bool { return s.count() == 3 })
}

// A node that only IPv6 reaches, behind one of IPv4.
func TestFindsNodesOfBothFamilies(t *testing.T) {
	if probe, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skip("no IPv6 loopback here")
	} else {
		probe.Close()
	}
	v6 := []*swarmNode{newSwarmNodeAt(t, net.IPv6loopback, testForkID(1)), newSwarmNodeAt(t, net.IPv6loopback, testForkID(1))}
	introduce(v6)
	v4 := newSwarmNode(t, testForkID(1))
	f := newFinder(t, func(c *Config) {
		c.Listen = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
		c.Bootnodes = []string{v4.local.Node().String(), v6[0].local.Node().String()}
	})
	f.SetFork(testForkID(1), eth2.ForkDigest{})
	s := newSeen()
	run(t, f, s.found)
	s.wait(t, "the three nodes", func() bool { return s.count() == 3 })
	got := s.of(v6[1].local.ID())
	if len(got) == 0 || got[0].IP6 != netip.IPv6Loopback() {
		t.Errorf("the second IPv6 node: %+v", got)
	}
}

// After a restart the search starts from every node known, and tells of those that
// have changed.
func TestStartsFromKnownNodes(t *testing.T) {
	nodes := newSwarm(t, 3, testForkID(1))
	unknown := newSwarmNode(t, testForkID(1))
	introduce([]*swarmNode{nodes[2], unknown})
	var known []string
	for _, n := range nodes {
		known = append(known, n.local.Node().String())
	}
	nodes[1].local.Set(gethenr.TCP(4321))
	f := newFinder(t, func(c *Config) { c.Known = append([]string{"enr:-damaged", "enode://x"}, known...) })
	f.SetFork(testForkID(1), eth2.ForkDigest{})
	s := newSeen()
	run(t, f, s.found)
	s.wait(t, "the unknown and the changed node", func() bool {
		return len(s.of(unknown.local.ID())) > 0 && len(s.of(nodes[1].local.ID())) > 0
	})
	if got := s.of(nodes[1].local.ID()); got[0].TCP != 4321 {
		t.Errorf("the changed node was emitted with TCP port %d", got[0].TCP)
	}
	if got := s.of(nodes[0].local.ID()); len(got) > 0 {
		t.Errorf("an unchanged node was emitted: %+v", got)
	}
}

func TestVerifiedRecordsAreBoundAndStillChecked(t *testing.T) {
	v := newVerified(4)
	for range 20 {
		_, key := testKey(t)
		r := signedRecord(t, key, 1)
		for range 2 {
			if err := r.VerifySignature(v); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := v.NodeAddr(r), crypto.Keccak256(crypto.FromECDSAPub(&key.PublicKey)[1:]); string(got) != string(want) {
			t.Errorf("node id %x, want %x", got, want)
		}
	}
	if n := len(v.young) + len(v.old); n > 8 {
		t.Errorf("%d records remembered, limit 2*4", n)
	}
	_, key := testKey(t)
	good := signedRecord(t, key, 1)
	if err := good.VerifySignature(v); err != nil {
		t.Fatal(err)
	}
	if err := forged(t, good).VerifySignature(v); err == nil {
		t.Error("a record with a changed byte passed")
	}
}
