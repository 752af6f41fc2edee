package main

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// regionsEnv is set for the process that has a network namespace of its own.
const regionsEnv = "CRASH_TEST_REGIONS"

// regionRounds is ROUNDS, else 3; the last round cuts a region off for
// VALTRACK_REGION_CUT, if that is set.
func regionRounds() int {
	if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil {
		return n
	}
	return 3
}

// regionStoresEnv has the consumers copy to ClickHouse and to an object store: `make soak-regions`
// sets it.
const regionStoresEnv = "VALTRACK_REGION_STORES"

// Three regions with a nats-server and a sentry each, two consumers: whoever is killed, and
// whichever region is cut off meanwhile, no event is lost, none is stored twice, and both
// consumers have the same; and so have their copies in ClickHouse and an object store, if there
// are any.
func TestRegions(t *testing.T) {
	if os.Getenv(regionsEnv) == "" {
		t.Parallel()
		inNamespace(t)
		return
	}
	w := testWorld(t)
	w.server.args = nil
	r, err := newRegions(t.Context(), w.programs, t.TempDir(), 300, testPeers)
	t.Cleanup(r.killAll)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(regionStoresEnv) != "" {
		if r.copies, err = newCopies(r.dir); err != nil {
			t.Fatal(err)
		}
	}
	// Servers first, as an operator has it; the first consumer makes the stream, on all of them.
	// What is published before a consumer has subscribed for the first time is not kept for it.
	var sentries []role
	for _, who := range r.roles() {
		if strings.HasPrefix(string(who), string(sentry)+"-") {
			sentries = append(sentries, who)
			continue
		}
		if err := r.start(t.Context(), who); err != nil {
			t.Fatal(err)
		}
	}
	for i := range r.consumers {
		untilStream(t, r, func(s jetstream.Stream) error {
			_, err := s.Consumer(t.Context(), string(consumerOf(i+1)))
			return err
		})
	}
	for _, who := range sentries {
		if err := r.start(t.Context(), who); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("-crash.seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 18))
	roles := r.roles()
	random.Shuffle(len(roles), func(i, j int) { roles[i], roles[j] = roles[j], roles[i] })
	for i := range regionRounds() {
		time.Sleep(2*time.Second + time.Duration(random.Int64N(int64(time.Second)))) // any moment is as good as another
		off := time.Duration(0)
		if i%2 == 1 {
			off = 3 * time.Second
		}
		if long, err := time.ParseDuration(os.Getenv("VALTRACK_REGION_CUT")); err == nil && i == regionRounds()-1 {
			off = long
		}
		victim, region := roles[i%len(roles)], 1+random.IntN(regionCount)
		t.Logf("round %d: %s is killed, region %d is cut off for %v", i+1, victim, region, off)
		if err := errors.Join(r.check(), r.round(t.Context(), victim, region, off)); err != nil {
			t.Fatal(err)
		}
	}
	untilStream(t, r, func(s jetstream.Stream) error {
		if n := s.CachedInfo().Config.Replicas; n != regionReplicas {
			t.Errorf("the stream has %d replicas", n)
		}
		return nil
	})
	if err := r.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, c := range r.consumers {
		v, err := c.verify(t.Context())
		if err := errors.Join(err, v.sound()); err != nil {
			t.Errorf("consumer %d: %v", i+1, err)
		}
		t.Logf("consumer %d: %d events, %d lost, %d twice", i+1, v.events, v.lost, v.twice)
	}
	r.compareStores(t)
}

// compareStores compares what each consumer has stored and copied, and the events of all.
func (r *regions) compareStores(t *testing.T) {
	t.Helper()
	var events, own map[string]tableSum
	of := 0
	for _, s := range r.stores() {
		sums, err := s.sums(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		t.Logf("%s: %v", s.name, sums)
		if s.own != of {
			own, of = maps.Clone(sums), s.own
		}
		if !maps.Equal(sums, own) {
			t.Errorf("%s has %v, the datasets of consumer %d have %v", s.name, sums, of, own)
		}
		delete(sums, dataset.PeerEstimates) // each makes its own
		if events == nil {
			events = sums
		}
		if !maps.Equal(sums, events) || sums[dataset.Visit].rows == 0 {
			t.Errorf("%s has %v, the first has %v", s.name, sums, events)
		}
	}
}

// inNamespace runs this test in a process with a network namespace of its own.
func inNamespace(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"unshare", "nsenter", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	if out, err := exec.Command("unshare", "-n", "ip", "link", "add", "br0", "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("needs network namespaces, as root on Linux has them: %v: %s", err, out)
	}
	cmd := exec.Command("unshare", "-n", os.Args[0], "-test.run", "^TestRegions$", "-test.v", "-test.timeout", "2h", "-crash.seed", strconv.FormatUint(*seed, 10))
	cmd.Env = append(os.Environ(), regionsEnv+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// untilStream asks a server about the stream until that works.
func untilStream(t *testing.T, r *regions, ask func(jetstream.Stream) error) {
	t.Helper()
	once := func() error {
		conn, err := nats.Connect(r.url(0))
		if err != nil {
			return err
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			return err
		}
		s, err := js.Stream(t.Context(), event.Stream)
		if err != nil {
			return err
		}
		return ask(s)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(healthPoll) {
		err := once()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
