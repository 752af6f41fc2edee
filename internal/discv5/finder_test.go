package discv5

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/chainbound/valtrack/internal/discv5/wire"
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

// Only what IANA calls globally reachable is asked and emitted (enr.GloballyReachable).
func TestSpecialPurposeAddressesStayOut(t *testing.T) {
	forkID := testForkID(1)
	for address, want := range map[string]bool{
		"100.64.0.1": false, "192.0.2.1": false, "198.18.0.1": false, "240.0.0.1": false, "0.1.2.3": false, "127.0.0.1": false,
		"8.8.8.8": true, "192.31.196.1": true,
	} {
		f := newFinder(t, func(c *Config) { c.AllowPrivate = false })
		c := f.newCrawl(func(enr.Record) {})
		_, key := testKey(t)
		c.offer(nodeOf(t, key, 1, &forkID, gethenr.IPv4Addr(netip.MustParseAddr(address))), time.Now())
		if got := len(c.table.byID) == 1; got != want {
			t.Errorf("%s is in the table: %v, want %v", address, got, want)
		}
	}
}

// Who has given a sentry a new key, does not find its earlier record among the nodes.
func TestRecordsOfAnEarlierKeyStayOut(t *testing.T) {
	forkID := testForkID(1)
	f := newFinder(t, nil)
	own, ok := f.local.Node().UDPEndpoint()
	if !ok {
		t.Fatal("no endpoint")
	}
	c := f.newCrawl(func(r enr.Record) { t.Errorf("emitted %v", r.IP4) })
	_, key := testKey(t)
	at := []gethenr.Entry{gethenr.IPv4Addr(own.Addr()), gethenr.UDP(own.Port())}
	c.offer(nodeOf(t, key, 1, &forkID, at...), time.Now())
	if got := len(c.table.byID); got != 0 {
		t.Errorf("%d nodes with our own address are in the table", got)
	}
	c = f.newCrawl(func(enr.Record) {})
	at[1] = gethenr.UDP(own.Port() - 1)
	if c.offer(nodeOf(t, key, 2, &forkID, at...), time.Now()); len(c.table.byID) != 1 {
		t.Error("another node at our address is not in the table")
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

// A record over 300 bytes cannot be signed: with every entry and the longest version it is not.
func TestOwnRecordNamesTheProgram(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3": "v1.2.3",
		"v1.2.4-0.20261130091134-58b761fabcde+dirty": "v1.2.4-0.20261130091",
	} {
		f := newFinder(t, func(c *Config) {
			c.Client, c.Version, c.TCPPort, c.QUICPort = "valtrack", version, 9000, 9001
			c.Listen = append(c.Listen, netip.IPv6Loopback())
			c.Fork, c.NFD = testForkID(1), eth2.ForkDigest{5, 6, 7, 8}
		})
		f.local.SetStaticIP(net.IP{198, 51, 100, 7})
		f.local.SetStaticIP(net.ParseIP("2001:db8::7"))
		f.local.Set(gethenr.UDP6(9002)) // as behind a NAT that gives it another port
		n := f.local.Node()
		var client []string
		if err := n.Load(gethenr.WithEntry("client", &client)); err != nil || !slices.Equal(client, []string{"valtrack", want}) {
			t.Errorf("client = %q, %v", client, err)
		}
		r, err := enr.Parse(n.String())
		if err != nil || len(r.Errors) > 0 || !r.IP4.IsValid() || !r.IP6.IsValid() || r.UDP6 == 0 || r.QUIC6 == 0 {
			t.Errorf("%+v, %v", r, err)
		}
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(r.Raw, "enr:"))
		if err != nil || len(raw) > gethenr.SizeLimit {
			t.Errorf("record of %d bytes, %v", len(raw), err)
		}
		t.Logf("%d bytes with version %s", len(raw), version)
	}
}

// Whoever is asked first keeps the record that it is shown.
func TestFirstRecordHasTheFork(t *testing.T) {
	want := testForkID(1)
	f := newFinder(t, func(c *Config) { c.Fork, c.NFD = want, eth2.ForkDigest{5, 6, 7, 8} })
	r, err := enr.Parse(f.ENR())
	if err != nil || r.Eth2 == nil || *r.Eth2 != want || r.NFD == nil || *r.NFD != (eth2.ForkDigest{5, 6, 7, 8}) {
		t.Errorf("%+v, %v", r, err)
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

// In a small network a node's only neighbour is at any distance.
func TestAsksEveryDistanceAtFirst(t *testing.T) {
	first := newSwarmNode(t, testForkID(1))
	_, key := testKey(t)
	for enode.LogDist(first.local.ID(), enode.PubkeyToIDV4(&key.PublicKey)) > 250 {
		_, key = testKey(t)
	}
	near := newSwarmNodeWith(t, key, net.IPv4(127, 0, 0, 1), testForkID(1))
	introduce([]*swarmNode{first, near})
	f := newFinder(t, func(c *Config) { c.Bootnodes = []string{first.local.Node().String()} })
	got := f.query(t.Context(), *f.newCrawl(func(enr.Record) {}).plan(time.NewTimer(0)))
	if !slices.ContainsFunc(got.far, func(n *enode.Node) bool { return n.ID() == near.local.ID() }) {
		t.Errorf("answered %v after %d requests: %v, want the neighbour %v", got.answered, got.farAsked, got.far, near.local.ID())
	}
}

// After a restart the search starts from every node known. Each start tells of every
// node that is there, once: the crash before may have lost the event.
func TestStartsFromKnownNodes(t *testing.T) {
	nodes := newSwarm(t, 3, testForkID(1))
	unknown := newSwarmNode(t, testForkID(1))
	introduce([]*swarmNode{nodes[2], unknown})
	var known []string
	for _, n := range nodes {
		known = append(known, n.local.Node().String())
	}
	nodes[1].local.Set(gethenr.TCP(4321))
	dead := testNode(t, nil)
	known = append(known, dead.String())
	f := newFinder(t, func(c *Config) { c.Known = append([]string{"enr:-damaged", "enode://x"}, known...) })
	f.SetFork(testForkID(1), eth2.ForkDigest{})
	s := newSeen()
	run(t, f, s.found)
	s.wait(t, "the known nodes and the unknown one", func() bool { return s.count() == 4 })
	s.wait(t, "the changed record", func() bool {
		got := s.of(nodes[1].local.ID())
		return got[len(got)-1].TCP == 4321
	})
	for _, i := range []int{0, 2} {
		if got := s.of(nodes[i].local.ID()); len(got) != 1 || got[0].Raw != known[i] {
			t.Errorf("an unchanged node was emitted as %+v, want %s once", got, known[i])
		}
	}
	if got := s.of(dead.ID()); len(got) > 0 {
		t.Errorf("a node that no node has reported was emitted: %+v", got)
	}
}

// An unchanged record of an earlier run is emitted when others tell of it, or its node
// answers, and then no more.
func TestARememberedRecordIsEmittedOnce(t *testing.T) {
	forkID := testForkID(1)
	for name, tt := range map[string]struct {
		learn func(c *crawl, n *enode.Node)
		want  int
	}{
		"nothing":      {func(*crawl, *enode.Node) {}, 0},
		"reported":     {func(c *crawl, n *enode.Node) { c.offer(n, time.Now()) }, 1},
		"it answers":   {func(c *crawl, n *enode.Node) { c.handleAnswers(answers{node: c.table.byID[n.ID()], answered: true}) }, 1},
		"it is silent": {func(c *crawl, n *enode.Node) { c.handleAnswers(answers{node: c.table.byID[n.ID()], noAnswer: true}) }, 0},
	} {
		var emitted []enr.Record
		c := newFinder(t, nil).newCrawl(func(r enr.Record) { emitted = append(emitted, r) })
		n := testNode(t, &forkID)
		c.offerKnown(knownRecord{n.String(), n})
		for range 3 {
			if got, _ := c.table.nextDue(time.Now().Add(maxRetry)); got == nil {
				t.Fatal("not due")
			}
			tt.learn(c, n)
			if known := c.table.byID[n.ID()]; known.asking {
				c.table.requeue(known, time.Now())
			}
		}
		if len(emitted) != tt.want || tt.want > 0 && emitted[0].Raw != n.String() {
			t.Errorf("%s: emitted %+v, want it %d times", name, emitted, tt.want)
		}
	}
}

// Who is skipped is not asked, and not emitted, from wherever its record comes.
func TestSkippedNodesAreLeftAlone(t *testing.T) {
	nodes := newSwarm(t, 4, testForkID(1))
	elsewhere := newSwarmNodeAt(t, net.IPv4(127, 0, 0, 3), testForkID(1))
	introduce([]*swarmNode{nodes[0], elsewhere})
	skipped := eth2.NodeID(nodes[1].local.ID())
	f := newFinder(t, func(c *Config) {
		c.Bootnodes = []string{nodes[0].local.Node().String(), nodes[1].local.Node().String()}
		c.Known = []string{nodes[1].local.Node().String(), elsewhere.local.Node().String()}
		c.Skip = func(id eth2.NodeID, addresses ...netip.Addr) bool {
			return id == skipped || slices.Contains(addresses, netip.MustParseAddr("127.0.0.3"))
		}
	})
	f.SetFork(testForkID(1), eth2.ForkDigest{})
	s := newSeen()
	run(t, f, s.found)
	s.wait(t, "the other three", func() bool { return s.count() == 3 })
	if len(s.of(nodes[1].local.ID()))+len(s.of(elsewhere.local.ID())) > 0 {
		t.Error("a skipped node was emitted")
	}
}

func TestNoPacketsToOrFromSkippedAddresses(t *testing.T) {
	listenAt := func(address string) *sockets {
		s, err := listen([]netip.Addr{netip.MustParseAddr(address)}, 0, 0, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	at := func(s *sockets) netip.AddrPort { return s.LocalAddr().(*net.UDPAddr).AddrPort() }
	here, friend, skipped := listenAt("127.0.0.1"), listenAt("127.0.0.2"), listenAt("127.0.0.3")
	var skip atomic.Bool
	skip.Store(true)
	filter := filteredSockets{here, func(_ eth2.NodeID, a ...netip.Addr) bool {
		return skip.Load() && slices.Contains(a, at(skipped).Addr())
	}, newPacer()}
	send := func(from interface {
		WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
	}, to *sockets, text string) {
		if n, err := from.WriteToUDPAddrPort([]byte(text), at(to)); n != len(text) || err != nil {
			t.Fatalf("%d bytes written, %v", n, err)
		}
	}
	buf := make([]byte, wire.MaxPacket)
	send(skipped, here, "from a skipped address")
	send(friend, here, "from a friend")
	if n, _, err := filter.ReadFromUDPAddrPort(buf); string(buf[:n]) != "from a friend" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	send(filter, skipped, "while skipped")
	skip.Store(false)
	send(filter, skipped, "no longer skipped")
	if n, _, err := skipped.ReadFromUDPAddrPort(buf); string(buf[:n]) != "no longer skipped" {
		t.Errorf("it got %q, %v", buf[:n], err)
	}
}

// A node may come to be skipped while it is in the table.
func TestANodeSkippedLaterIsNotAsked(t *testing.T) {
	n := newSwarmNode(t, testForkID(1))
	var skip atomic.Bool
	f := newFinder(t, func(c *Config) { c.Skip = func(eth2.NodeID, ...netip.Addr) bool { return skip.Load() } })
	c := f.newCrawl(func(enr.Record) {})
	c.offer(n.local.Node(), time.Now())
	skip.Store(true)
	known := c.table.byID[n.local.ID()]
	if f.query(t.Context(), visit{node: known, text: known.text, far: distances(1)}); f.requests.Load() != 0 {
		t.Errorf("%d requests to a skipped node", f.requests.Load())
	}
}

// A record that was decoded before is the same node, and a changed byte is another record.
func TestDecodedRecordsAreKept(t *testing.T) {
	v := newVerified(4)
	encoded := func(r *gethenr.Record) []byte {
		raw, err := rlp.EncodeToBytes(r)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for range 20 {
		_, key := testKey(t)
		r := signedRecord(t, key, 1)
		first, err := v.node(encoded(r))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := v.node(encoded(r)); err != nil || again != first {
			t.Errorf("decoded again: %v", err)
		}
		if _, err := v.node(encoded(forged(t, r))); err == nil || errors.Is(err, errNoRecord) {
			t.Errorf("a record with a changed byte: %v", err)
		}
	}
	if n := len(v.nodes.young) + len(v.nodes.old); n > 8 {
		t.Errorf("%d nodes kept, limit 2*4", n)
	}
	if _, err := v.node([]byte{0x83, 1, 2, 3}); !errors.Is(err, errNoRecord) {
		t.Errorf("bytes that are no record: %v", err)
	}
}

// Records that were replaced are forgotten; one that is in use stays.
func TestRecordsOutOfUseAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := generations[int]{limit: 1000}
		inUse := recordHash{1}
		g.put(inUse, 1)
		for i := range byte(100) {
			time.Sleep(generationAge / 10)
			g.put(recordHash{2, i}, 2)
			if v, ok := g.get(inUse); !ok || v != 1 {
				t.Fatalf("after %d records the one in use is %d, %v", i, v, ok)
			}
		}
		if _, ok := g.get(recordHash{2, 0}); ok {
			t.Error("a record that came no more is remembered")
		}
		if _, ok := g.get(recordHash{2, 95}); !ok {
			t.Error("a record that came a moment ago is forgotten")
		}
		if n := len(g.young) + len(g.old); n > 25 {
			t.Errorf("%d records remembered", n)
		}
	})
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
	if n := len(v.ids.young) + len(v.ids.old); n > 8 {
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
