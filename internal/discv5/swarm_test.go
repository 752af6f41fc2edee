package discv5

import (
	"context"
	"crypto/ecdsa"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	gethlog "github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/discover"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"go.uber.org/goleak"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

func TestMain(m *testing.M) {
	if size, err := strconv.Atoi(os.Getenv(swarmVariable)); err == nil {
		serveSwarm(size)
		return
	}
	// goleveldb's own: it ends by itself a second after the database is closed.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

// waitLong is the deadline of tests that wait for a condition, not a bound on speed.
const waitLong = 90 * time.Second

func testForkID(b byte) eth2.ENRForkID {
	return eth2.ENRForkID{ForkDigest: eth2.ForkDigest{1, 2, 3, b}, NextForkEpoch: eth2.FarFutureEpoch}
}

// swarmNode is a node of go-ethereum's discv5 on loopback.
type swarmNode struct {
	local *enode.LocalNode
	udp   *discover.UDPv5
}

func newSwarmNode(t testing.TB, forkID eth2.ENRForkID) *swarmNode {
	t.Helper()
	return newSwarmNodeAt(t, net.IPv4(127, 0, 0, 1), forkID)
}

func newSwarmNodeAt(t testing.TB, ip net.IP, forkID eth2.ENRForkID) *swarmNode {
	t.Helper()
	_, key := testKey(t)
	return newSwarmNodeWith(t, key, ip, forkID)
}

func newSwarmNodeWith(t testing.TB, key *ecdsa.PrivateKey, ip net.IP, forkID eth2.ENRForkID) *swarmNode {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	db, err := enode.OpenDB("")
	if err != nil {
		t.Fatal(err)
	}
	local := enode.NewLocalNode(db, key)
	local.SetStaticIP(ip)
	local.SetFallbackUDP(conn.LocalAddr().(*net.UDPAddr).Port)
	local.Set(enr.Eth2Entry(forkID))
	udp, err := discover.ListenV5(conn, local, discover.Config{
		PrivateKey: key, Log: gethlog.NewLogger(gethlog.DiscardHandler()),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close(); db.Close() })
	return &swarmNode{local, udp}
}

// newSwarm makes nodes with full tables, as after some hours of running. A swarm
// left to itself takes minutes to get there.
func newSwarm(t testing.TB, size int, forkID eth2.ENRForkID) []*swarmNode {
	t.Helper()
	nodes := make([]*swarmNode, size)
	for i := range nodes {
		nodes[i] = newSwarmNode(t, forkID)
	}
	introduce(nodes)
	return nodes
}

func introduce(nodes []*swarmNode) {
	for _, n := range nodes {
		for _, other := range nodes {
			n.udp.AddKnownNode(other.local.Node())
		}
	}
}

func testKey(t testing.TB) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return crypto.FromECDSA(key), key
}

func newFinder(t testing.TB, change func(*Config)) *Finder {
	t.Helper()
	key, _ := testKey(t)
	cfg := Config{Key: key, Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, AllowPrivate: true}
	if change != nil {
		change(&cfg)
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// seen collects what a Finder emits.
type seen struct {
	mu      sync.Mutex
	records map[eth2.NodeID][]enr.Record
	changed chan struct{}
}

func newSeen() *seen {
	return &seen{records: make(map[eth2.NodeID][]enr.Record), changed: make(chan struct{}, 1)}
}

func (s *seen) found(r enr.Record) {
	s.mu.Lock()
	s.records[r.NodeID] = append(s.records[r.NodeID], r)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *seen) of(id enode.ID) []enr.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[eth2.NodeID(id)]
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// wait returns when cond holds after some emission; the test fails at the deadline.
func (s *seen) wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(waitLong)
	defer deadline.Stop()
	for !cond() {
		select {
		case <-s.changed:
		case <-deadline.C:
			t.Fatalf("gave up waiting for %s; %d nodes seen", what, s.count())
		}
	}
}

// run starts f.Run and stops it at the end of the test.
func run(t testing.TB, f *Finder, found func(enr.Record)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, found) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
