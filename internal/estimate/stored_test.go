package estimate

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// storedAgents are clients with every window that there was under encoding 4, and some
// that were not known, whose statistics have all of them.
func storedAgents() []string {
	return []string{
		"Lighthouse/v8.0.1-ced49dd/x86_64-linux", "Lighthouse/v5.1.3-3058b96/x86_64-linux", "Prysm/v7.0.0/abc", "nimbus",
		"teku/teku/v25.9.0/linux-x86_64", "lodestar/v1.44.0/abc", "Grandine/2.0.0/x86_64-linux", "erigon/caplin", "rust-libp2p/0.54",
	}
}

// storedDay is a day of watches and snapshots in which each window sees something else.
func storedDay(c eth2.Client) *Statistics {
	p := mainnetParams()
	s := NewStatistics(c)
	for j := range 3 {
		var spans [][3]int64
		for k := range 24 {
			from := slotTime(p, 1000+30*j, 0) + int64(k)*41_000
			spans = append(spans, [3]int64{from, from + int64(20_000+5_000*(k%7)), int64((5*k + j) % 60)})
		}
		s.AddWatch(p, logOf(slotTime(p, 1000+30*j, 0)-2000, slotTime(p, 1003+30*j, 0)+2000, spans...))
	}
	for j := range 40 {
		s.AddSnapshot(p, Snapshot{At: slotTime(p, 1000+3*j, (7*j)%32) + 3000, Subscribed: []int{j % 60, 7, 62, 63}, LongLived: eth2.NewAttnets([]int{62, 63})})
	}
	s.AddSyncnets(p, slotTime(p, 1000, 0), 3)
	return s
}

// storedThen is storedDay without the windows that no client had under encoding 4.
func storedThen(c eth2.Client) *Statistics {
	s := storedDay(c)
	if _, known := windowOf(c); !known {
		s.readings = slices.DeleteFunc(s.readings, func(r reading) bool { return !slices.Contains(unkeyedWindows(), r.window) })
	}
	return s
}

// withReleases gives a client other windows for the rest of the test.
func withReleases(t *testing.T, kind eth2.ClientKind, releases ...release) {
	t.Helper()
	table := clients
	t.Cleanup(func() { clients = table })
	clients = slices.Clone(table)
	clients[slices.IndexFunc(clients, func(c client) bool { return c.kind == kind })].releases = releases
}

// wholeWatches makes of s what it was when a watch was not cut by epochs: one run for its
// slots, and one of otherEpochs for each watch.
func (s *Statistics) wholeWatches(watches uint32) *Statistics {
	s.fullness.otherEpochs = watches
	for i := range s.readings {
		for at := len(s.readings[i].runs) - 1; at > 0; at-- {
			s.readings[i].join(at, func(a, b run) bool { return true })
		}
	}
	return s
}

// byWindow sorts the readings, whose order only says which is the likeliest.
func (s *Statistics) byWindow() *Statistics {
	slices.SortFunc(s.readings, func(a, b reading) int { return cmp.Compare(a.window.key(), b.window.key()) })
	return s
}

func estimateOf(c eth2.Client, days ...*Statistics) Estimate {
	e := NewEvidence(c, Custody{})
	for _, d := range days {
		e.Add(d, c)
	}
	return NewModel(mainnetParams(), storedPrior(), nil).Estimate(e)
}

// storedPrior is the one that the estimates of encoding4.json were made with.
func storedPrior() Prior {
	return Prior{[]Band{
		{0, 0, 0.45}, {1, 8, 0.23}, {9, 127, 0.13}, {128, 399, 0.15}, {400, 1199, 0.03},
		{1200, 3999, 0.008}, {4000, 19_999, 0.0019}, {20_000, maxValidators, 0.0001},
	}}
}

// testdata/encoding4.json was written by the code before windows had keys: for each agent
// storedDay as it was encoded, the same sealed after slot 32000, and its estimate, by the model of now.
func TestStatisticsWithoutKeysAreRead(t *testing.T) {
	withReleases(t, eth2.ClientLighthouse, release{0, window{slotsAhead, 1, 1}}, release{7, window{slotsAhead, 1, 2}}) // as it was then
	text, err := os.ReadFile("testdata/encoding4.json")
	if err != nil {
		t.Fatal(err)
	}
	var file []struct {
		Agent       string
		Day, Sealed string // hex
		Median      int
		Mean        float64
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file) != len(storedAgents()) {
		t.Fatalf("%d days, want %d", len(file), len(storedAgents()))
	}
	for _, f := range file {
		c := eth2.ParseAgent(f.Agent)
		want, sealed := storedThen(c).wholeWatches(3), storedThen(c).wholeWatches(3)
		sealed.Seal(32_000)
		for old, want := range map[string]*Statistics{f.Day: want, f.Sealed: sealed} {
			b, err := hex.DecodeString(old)
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeStatistics(c, b)
			if err != nil {
				t.Fatalf("%s: %v", f.Agent, err)
			}
			if !reflect.DeepEqual(got.byWindow(), want.byWindow()) {
				t.Errorf("%s: decoded %+v, want %+v", f.Agent, got, want)
			}
			again, _ := got.AppendBinary(nil)
			if got, err := DecodeStatistics(c, again); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: encoded again %+v, %v, want %+v", f.Agent, got, err, want)
			}
			if _, err := DecodeStatistics(c, b[:len(b)-1]); !errors.Is(err, ErrEncoding) {
				t.Errorf("%s: cut short: %v", f.Agent, err)
			}
		}
		b, _ := hex.DecodeString(f.Day)
		opened, err := OpenStatistics(c, b)
		if err != nil {
			t.Fatal(err)
		}
		if got := estimateOf(c, opened); got.Median != f.Median || math.Abs(got.Mean/f.Mean-1) > 1e-9 {
			t.Errorf("%s: estimate %d, mean %v, was %d, %v", f.Agent, got.Median, got.Mean, f.Median, f.Mean)
		}
	}
}

// The order of the table of clients means nothing: neither to statistics, nor to
// estimates, nor to what was stored under another order.
func TestOrderOfClientsMeansNothing(t *testing.T) {
	table := clients
	defer func() { clients = table }()
	type result struct {
		day      []byte
		estimate Estimate
		custody  Estimate
	}
	observe := func() (out []result) {
		for _, agent := range storedAgents() {
			c := eth2.ParseAgent(agent)
			day := storedDay(c)
			b, _ := day.AppendBinary(nil)
			var custody Custody
			custody.Observe(0, 4)
			e := NewEvidence(c, custody)
			e.Add(day, c)
			out = append(out, result{b, estimateOf(c, day), NewModel(mainnetParams(), DefaultPrior(), nil).Estimate(e)})
		}
		return out
	}
	want := observe()
	r := rand.New(rand.NewPCG(3, 3))
	for range 20 {
		clients = slices.Clone(table)
		r.Shuffle(len(clients), func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
		for i, got := range observe() {
			agent := storedAgents()[i]
			if !bytes.Equal(got.day, want[i].day) || got.estimate != want[i].estimate || got.custody != want[i].custody {
				t.Fatalf("%s: %+v, want %+v", agent, got, want[i])
			}
			stored, err := DecodeStatistics(eth2.ParseAgent(agent), want[i].day)
			if err != nil {
				t.Fatal(err)
			}
			if got := estimateOf(eth2.ParseAgent(agent), stored); got != want[i].estimate {
				t.Fatalf("%s: of what was stored %+v, want %+v", agent, got, want[i].estimate)
			}
		}
	}
}

// A client that is added to the table, or given another window, changes nothing of what was
// stored: each reading stays that of its window.
func TestStoredReadingsKeepTheirWindow(t *testing.T) {
	table := clients
	defer func() { clients = table }()
	erigon := eth2.ParseAgent("erigon/caplin")
	unknown, _ := storedDay(erigon).AppendBinary(nil)
	of := func(agent string, behaviour bool) Estimate {
		c := eth2.ParseAgent(agent)
		day := storedDay(c)
		if !behaviour {
			day.behaviour = Behaviour{}
		}
		return estimateOf(c, day)
	}
	lodestar, nimbus := of("lodestar/v1.44.0/abc", false), of("nimbus", true) // it is not kept of an unknown client
	nimbusDay, _ := storedDay(eth2.ParseAgent("nimbus")).AppendBinary(nil)

	clients = append(slices.Clone(table), client{kind: eth2.ClientErigon, releases: []release{{window: window{slotsAhead, 2, 3}}}})
	stored, err := OpenStatistics(erigon, unknown)
	if err != nil {
		t.Fatal(err)
	}
	if got := estimateOf(erigon, stored); got.Median != lodestar.Median || math.Abs(got.Mean/lodestar.Mean-1) > 1e-9 {
		t.Errorf("Erigon with Lodestar's window: %+v, want %+v", got, lodestar)
	}
	i := slices.IndexFunc(clients, func(c client) bool { return c.kind == eth2.ClientNimbus })
	clients[i].releases = []release{{window: window{policy: epochStart}}}
	if stored, err = OpenStatistics(eth2.ParseAgent("nimbus"), nimbusDay); err != nil {
		t.Fatal(err)
	}
	if w := stored.readings[0].window; w != (window{slotsAhead, 3, 4}) {
		t.Errorf("a stored reading's window became %+v", w)
	}
	if got := estimateOf(eth2.ParseAgent("nimbus"), stored); got != nimbus {
		t.Errorf("Nimbus after a change of its window: %+v, want %+v", got, nimbus)
	}
}

// Every row can be used: shares are a whole, windows have keys, and a version of 0 has one.
func TestClients(t *testing.T) {
	total, seen := 0.0, map[eth2.ClientKind]bool{}
	for _, c := range clients {
		total += c.share
		if seen[c.kind] || eth2.ParseAgent(string(c.kind)+"/v1.0.0").Kind != c.kind {
			t.Errorf("%s is there before, or no agent is parsed as it", c.kind)
		}
		seen[c.kind] = true
		if !slices.ContainsFunc(c.releases, func(r release) bool { return r.from == 0 }) {
			t.Errorf("%s has no window for its first releases", c.kind)
		}
		for _, r := range c.releases {
			if w, ok := windowOfKey(r.key()); !ok || w != r.window {
				t.Errorf("%s: window %+v has the key of %+v, %v", c.kind, r.window, w, ok)
			}
		}
	}
	if math.Abs(total-1) > 1e-9 {
		t.Errorf("shares sum to %v", total)
	}
	for kind, want := range map[eth2.ClientKind]bool{eth2.ClientNimbus: true, eth2.ClientLighthouse: false, eth2.ClientErigon: false, eth2.ClientUnknown: false} {
		if got := OmitsExternalValidators(kind); got != want {
			t.Errorf("%s omits external validators: %v", kind, got)
		}
	}
}

// A real Lighthouse 5.3 node with 53 validators was subscribed from the start of the slot
// before each duty to the end of the duty's, 375 times of 375.
func TestLighthouseWindow(t *testing.T) {
	for _, agent := range []string{"Lighthouse/v5.1.3-3058b96/x86_64-linux", "Lighthouse/v5.3.0-d6ba8c3", "Lighthouse/v6.9.9", "Lighthouse/v7.0.0", "Lighthouse/v10.1.0", "Lighthouse"} {
		if w, ok := windowOf(eth2.ParseAgent(agent)); !ok || w != (window{slotsAhead, 1, 2}) {
			t.Errorf("%s: %+v, want the slot before the duty and the duty's", agent, w)
		}
	}
}

// A window belongs to the releases from its major version on, the newest one to agents
// without a version.
func TestWindowsByRelease(t *testing.T) {
	withReleases(t, eth2.ClientLighthouse, release{7, window{slotsAhead, 1, 2}}, release{0, window{slotsAhead, 1, 1}})
	for agent, want := range map[string]uint64{"Lighthouse/v6.9.9": 1, "Lighthouse/v7.0.0": 2, "Lighthouse/v10.1.0": 2, "Lighthouse": 2} {
		if w, ok := windowOf(eth2.ParseAgent(agent)); !ok || w.slots != want {
			t.Errorf("%s: %+v, want a window of %d slots", agent, w, want)
		}
	}
}
