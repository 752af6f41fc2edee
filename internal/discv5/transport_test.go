package discv5

import (
	"context"
	"crypto/ecdsa"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/discv5/wire"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// What go-ethereum asks of us is answered.
func TestAnswersRequests(t *testing.T) {
	nodes := newSwarm(t, 20, testForkID(1))
	f := newFinder(t, nil)
	for _, n := range nodes {
		f.udp.routing.add(n.local.Node())
	}
	asking := newSwarmNode(t, testForkID(1))
	us := f.local.Node()
	if pong, err := asking.udp.Ping(us); err != nil || pong.ENRSeq != us.Seq() || !pong.ToIP.Equal(net.IPv4(127, 0, 0, 1)) {
		t.Errorf("pong %+v, %v", pong, err)
	}
	if answer, err := asking.udp.TalkRequest(us, "portal", []byte{1}); err != nil || len(answer) > 0 {
		t.Errorf("talk response %x, %v", answer, err)
	}
	if got, err := asking.udp.RequestENR(us); err != nil || got.String() != us.String() {
		t.Errorf("our record %v, %v", got, err)
	}
	time.Sleep(time.Until(f.pace.ready(endpointOf(asking.local.Node()), time.Now())))
	got, err := asking.udp.Findnode(us, []uint{256, 255, 254, 253, 252, 256, 0, 300})
	want := min(bucketSize, 1+len(f.udp.routing.all()))
	if err != nil || len(got) < want-1 { // some may be closer than 252
		t.Errorf("%d nodes, %v, want %d", len(got), err, want)
	}
}

func endpointOf(n *enode.Node) netip.AddrPort {
	at, _ := n.UDPEndpoint()
	return at
}

// A node that contacts us is found.
func TestNodesThatContactUsAreFound(t *testing.T) {
	f := newFinder(t, nil)
	s := newSeen()
	run(t, f, s.found)
	n := newSwarmNode(t, testForkID(1))
	if _, err := n.udp.Ping(f.local.Node()); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "the node", func() bool { return len(s.of(n.local.ID())) > 0 })
}

// Nodes that are pinged tell where they see us.
func TestOwnAddressIsWhatOthersSee(t *testing.T) {
	f := newFinder(t, func(c *Config) { c.Listen = []netip.Addr{netip.IPv4Unspecified()} })
	if f.local.Node().IPAddr().IsValid() {
		t.Fatalf("an address before anybody told us: %v", f.local.Node().IPAddr())
	}
	for i := range byte(12) { // one address counts once
		n := newSwarmNodeAt(t, net.IPv4(127, 0, 0, 10+i), testForkID(1))
		if err := f.udp.ping(t.Context(), n.local.Node()); err != nil {
			t.Fatal(err)
		}
	}
	if got := endpointOf(f.local.Node()); got != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), f.Port()) {
		t.Errorf("our endpoint is %v", got)
	}
}

// Calls to one node follow each other, and all end when the finder is closed.
func TestCallsOfANodeFollowEachOther(t *testing.T) {
	n := newSwarmNode(t, testForkID(1))
	f := newFinder(t, nil)
	errs := make(chan error)
	for range 3 {
		go func() {
			_, err := f.udp.findnode(context.Background(), n.local.Node(), []uint{0})
			errs <- err
		}()
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	silent := nodeWithoutAnswer(t)
	for range 3 {
		go func() { errs <- f.udp.ping(context.Background(), silent) }()
	}
	f.Close()
	for range 3 {
		if err := <-errs; err == nil {
			t.Error("a silent node was alive")
		}
	}
	if len(f.udp.calls) > 0 || len(f.udp.byNonce) > 0 {
		t.Errorf("%d calls are left, %d packets", len(f.udp.calls), len(f.udp.byNonce))
	}
}

// nodeWithoutAnswer has a socket that nobody reads.
func nodeWithoutAnswer(t *testing.T) *enode.Node {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_, key := testKey(t)
	return nodeOf(t, key, 1, nil, gethenr.UDP(conn.LocalAddr().(*net.UDPAddr).Port))
}

func TestRoutingIsBoundedAndKeepsWhoAnswers(t *testing.T) {
	publicNode := func(i int, address string, seq uint64) *enode.Node {
		r := syntheticRecord(testForkID(1))
		r.Set(gethenr.IPv4Addr(netip.MustParseAddr(address)))
		r.SetSeq(seq)
		id := enode.ID{0: 0x80, 30: byte(i >> 8), 31: byte(i)}
		if err := r.SetSig(trusted(id), append(make([]byte, 32), id[:]...)); err != nil {
			t.Fatal(err)
		}
		n, err := enode.New(trusted(id), &r)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	r := newRouting(enode.ID{})
	for i := range 5 {
		r.add(publicNode(i, netip.AddrFrom4([4]byte{8, 8, 8, byte(i + 1)}).String(), 1))
	}
	if got := len(r.at(256)); got != maxInBucket {
		t.Errorf("%d nodes of one network", got)
	}
	for i := range 100 {
		r.add(publicNode(10+i, netip.AddrFrom4([4]byte{8, 9, byte(i), 1}).String(), 1))
	}
	if got := len(r.at(256)); got != bucketSize {
		t.Errorf("%d nodes in a bucket", got)
	}
	first := r.at(256)[0]
	r.add(publicNode(0, "8.8.8.1", 2))
	if got := r.get(first.ID()); got == nil || got.Seq() != 2 {
		t.Errorf("the newer record was not kept: %v", got)
	}
	r.remove(first.ID())
	if r.get(first.ID()) != nil || len(r.all()) != bucketSize-1 {
		t.Error("a node that does not answer is kept")
	}
	if r.at(257) != nil || r.at(1<<40) != nil {
		t.Error("nodes at distances that there are not")
	}
}

// Whoever has one network has few nodes in the whole table, however far apart their ids are,
// and so little to say about our address. A record that moves there finds no more room.
func TestRoutingIsSharedByNetworks(t *testing.T) {
	for name, at := range map[string]func(i int) gethenr.Entry{
		"one /24": func(i int) gethenr.Entry { return ip4(8, 8, 8, byte(i)) },
		"one /48": func(i int) gethenr.Entry {
			return gethenr.IPv6Addr(netip.AddrFrom16([16]byte{0x2a, 1, 4, 0xf8, 0, 0, byte(i >> 8), byte(i), 15: 1}))
		},
	} {
		t.Run(name, func(t *testing.T) { testOneNetwork(t, at) })
	}
}

func testOneNetwork(t *testing.T, at func(i int) gethenr.Entry) {
	r := newRouting(enode.ID{})
	node := func(distance int, seq uint64, entry gethenr.Entry) *enode.Node {
		var id enode.ID
		id[distance/8] = 0x80 >> (distance % 8)
		rec := syntheticRecord(testForkID(1))
		rec.Set(entry)
		if _, is6 := entry.(gethenr.IPv6Addr); is6 {
			rec.Set(gethenr.UDP6(9000))
		}
		rec.SetSeq(seq)
		if err := rec.SetSig(trusted(id), append(make([]byte, 32), id[:]...)); err != nil {
			t.Fatal(err)
		}
		n, err := enode.New(trusted(id), &rec)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i := range 200 {
		r.add(node(i, 1, at(i)))
	}
	if got := len(r.all()); got != maxPerNetwork {
		t.Errorf("%d nodes of one network, want %d", got, maxPerNetwork)
	}
	r.add(node(0, 2, at(7))) // stays within the network
	elsewhere := func(i int) gethenr.Entry { return ip4(9, 9, byte(i), 1) }
	r.add(node(201, 1, elsewhere(1)))
	r.add(node(201, 2, at(201))) // moves into it
	if got := len(r.all()); got != maxPerNetwork {
		t.Errorf("%d nodes after one moved there, want %d", got, maxPerNetwork)
	}
	r.add(node(0, 3, elsewhere(2))) // leaves it
	r.add(node(202, 1, at(202)))
	if got := len(r.all()); got != maxPerNetwork+1 {
		t.Errorf("%d nodes after one left, want %d", got, maxPerNetwork+1)
	}
	for _, n := range r.all() {
		r.remove(n.ID())
	}
	if r.networks.Len() != 0 {
		t.Errorf("%d networks are counted in an empty table", r.networks.Len())
	}
}

// What a node says about an address of ours that it cannot see does not count.
func TestStatementsOfTheOtherFamily(t *testing.T) {
	four, mapped, six := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("::ffff:8.8.8.8"), netip.MustParseAddr("2a01:4f8::1")
	for _, tt := range []struct {
		a, b netip.Addr
		want bool
	}{{four, four, true}, {four, mapped, true}, {six, six, true}, {four, six, false}, {six, mapped, false}} {
		if sameFamily(tt.a, tt.b) != tt.want || sameFamily(tt.b, tt.a) != tt.want {
			t.Errorf("%v and %v: want %v", tt.a, tt.b, tt.want)
		}
	}
}

// A node's own record is handed on only when the node answered at its endpoint: nobody else
// gets packets because a node names their address (H2).
func TestOnlyEndpointsThatAnsweredAreHandedOn(t *testing.T) {
	forkID := testForkID(1)
	f := newFinder(t, nil)
	asked := netip.MustParseAddrPort("127.0.0.1:9000")
	for name, tt := range map[string]struct {
		ip   gethenr.IPv4Addr
		port int
		seq  uint64 // of the record that is handed on
	}{
		"the same endpoint": {ip4(127, 0, 0, 1), 9000, 2},
		"another port":      {ip4(127, 0, 0, 1), 9001, 1},
		"another address":   {ip4(8, 8, 8, 8), 9000, 1},
		"no address at all": {ip4(0, 0, 0, 0), 9000, 1},
	} {
		_, key := testKey(t)
		record := nodeOf(t, key, 1, &forkID, ip4(127, 0, 0, 1), gethenr.UDP(9000))
		self := nodeOf(t, key, 2, &forkID, tt.ip, gethenr.UDP(tt.port))
		f.route(record, asked, &answers{answered: true, self: self})
		if got := f.udp.routing.get(record.ID()); got == nil || got.Seq() != tt.seq {
			t.Errorf("%s: %v is handed on, want seq %d", name, got, tt.seq)
		}
	}
}

// A visit that is answered puts the node into the routing table, and one that is not
// takes it out.
func TestVisitsKeepTheRoutingTable(t *testing.T) {
	s := newServer(t, testForkID(1), nil)
	s.with(func() { s.rawAnswer = func([]uint) []*rawNodes { return []*rawNodes{{RespCount: 1}} } })
	f := newFinder(t, nil)
	c := f.newCrawl(func(enr.Record) {})
	for _, silent := range []bool{false, true} {
		s.with(func() { s.drop = func(int) bool { return silent } })
		time.Sleep(time.Until(f.pace.ready(endpointOf(s.local.Node()), time.Now())))
		f.query(t.Context(), visitOf(t, c, s, []uint{256}, nil))
		if known := f.udp.routing.get(s.local.ID()) != nil; known == silent {
			t.Errorf("silent %v, in the table %v", silent, known)
		}
	}
}

// All records of a full bucket fit into packets.
func TestNodesPacketsHaveRoom(t *testing.T) {
	var records []*gethenr.Record
	for i := range bucketSize {
		records = append(records, syntheticNode(t, i, syntheticRecord(testForkID(1))).Record())
	}
	got := 0
	for _, m := range packets(make([]byte, 8), records) {
		size := nodesOverhead
		for _, raw := range m.Raw {
			size += len(raw)
		}
		if size > wire.MaxPacket {
			t.Errorf("%d bytes", size)
		}
		got += len(m.Raw)
	}
	if got != bucketSize {
		t.Errorf("%d records", got)
	}
	if empty := packets(nil, nil); len(empty) != 1 || empty[0].Total != 1 {
		t.Errorf("an empty answer: %+v", empty)
	}
}

// A lookup goes from node to node, until it meets the target.
func TestLookupGoesFromNodeToNode(t *testing.T) {
	at := func(key *ecdsa.PrivateKey) *swarmNode {
		return newSwarmNodeWith(t, key, net.IPv4(127, 0, 0, 1), testForkID(1))
	}
	first := newSwarmNode(t, testForkID(1))
	far := func() *ecdsa.PrivateKey { // at distance 256 of the first
		for {
			if _, key := testKey(t); enode.LogDist(first.local.ID(), enode.PubkeyToIDV4(&key.PublicKey)) == 256 {
				return key
			}
		}
	}
	second, target := at(far()), at(far())
	introduce([]*swarmNode{first, second})
	introduce([]*swarmNode{second, target})
	f := newFinder(t, nil)
	f.udp.routing.add(first.local.Node())
	walked := make(chan *enode.Node, 16)
	f.lookup(t.Context(), target.local.ID(), walked)
	close(walked)
	var met []enode.ID
	for n := range walked {
		met = append(met, n.ID())
	}
	if !slices.Contains(met, target.local.ID()) {
		t.Errorf("met %v", met)
	}
}
