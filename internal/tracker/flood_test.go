package tracker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// simulated is a node of which the sentry sees a watch.
type simulated struct {
	id, address, agent string
	cgc                uint64
	validators         int
	everything         bool // keeps all subnets
}

// watched are a node's handshake and a watch of so many epochs: each validator is drawn to
// aggregate once in 29 epochs, and its node joins the subnet a slot before, as Lighthouse does.
func (n simulated) watched(r *rand.Rand, at time.Time, epochs int) []event.Event {
	const slot = 12_000
	from := at.Add(300 * time.Millisecond).UnixMilli()
	slots := epochs * 32
	long := []int{int(n.cgc) % 64, (int(n.cgc) + 9) % 64}
	if n.everything {
		long = nil
		for subnet := range 64 {
			long = append(long, subnet)
		}
	}
	duties := make([]uint64, slots+1) // sets of subnets
	for range n.validators * epochs {
		if r.IntN(29) == 0 {
			duties[1+r.IntN(slots)] |= 1 << r.IntN(64)
		}
	}
	var changes []event.SubnetChange
	on := uint64(0)
	for _, subnet := range long {
		on |= 1 << subnet
	}
	static := on
	for s := range slots {
		next := duties[s] | duties[s+1] | static
		for subnet := range 64 {
			if bit := uint64(1) << subnet; (on^next)&bit != 0 {
				changes = append(changes, event.SubnetChange{At: int64(s)*slot + 100, Subnet: subnet, Subscribed: next&bit != 0})
			}
		}
		on = next
	}
	custody, syncnets := n.cgc, eth2.Syncnets(0)
	if n.validators >= 10_000 {
		syncnets = 15 // they have seats in all
	}
	attnets := eth2.NewAttnets(long)
	if n.everything {
		attnets = eth2.NewAttnets(long[:2]) // it does not say so
	}
	h := &event.MetadataReceived{Common: common(at), ID: n.id, Multiaddr: n.address, Epoch: params().Clock.EpochAt(at),
		MetaData:          &event.MetaData{SeqNumber: 1, Attnets: attnets, Syncnets: &syncnets, CustodyGroupCount: &custody},
		SubscribedSubnets: long, ClientVersion: n.agent, VisitID: "v-" + n.id, Direction: event.Outbound, Transport: event.TCP}
	to := from + int64(slots)*slot
	v := &event.VisitEnded{Common: common(time.UnixMilli(to + 1)), VisitID: h.VisitID, ID: n.id, Direction: event.Outbound, Transport: event.TCP,
		Started: at.UnixMilli(), Ended: to + 1, Outcome: event.OutcomeOK, ClientVersion: n.agent,
		Watch: &event.Watch{From: from, To: to, Initial: long, Changes: changes}}
	return []event.Event{h, v}
}

const olderLighthouse = "Lighthouse/v7.1.0-abcdef0/x86_64-linux"

// honest are nodes in prefixes of their own, but that each ten of a hundred share /24s in
// twos and threes, as in the sample of mainnet. A fifth runs an older version.
func honest(n int) (nodes []simulated) {
	sizes := []int{0, 0, 0, 0, 1, 4, 20, 40, 60, 90, 0, 0, 0, 2, 30, 50, 110, 300, 0, 500}
	for i := range n {
		net := i
		if i%100 < 10 {
			net = i - i%10%3
		}
		v := sizes[i%len(sizes)]
		custody := uint64(4)
		if v > 0 {
			custody = uint64(min(max(v, 8), 128))
		}
		agent := lighthouse
		if i%5 == 2 {
			agent = olderLighthouse
		}
		nodes = append(nodes, simulated{peerID(i), fmt.Sprintf("/ip4/50.%d.%d.%d/tcp/9000", net>>8, net&255, 1+i%200), agent, custody, v, false})
	}
	return nodes
}

// crawled is a tracker that has seen nodes, and learned from them.
func crawled(t *testing.T, nodes []simulated) *Tracker {
	t.Helper()
	now := start.Add(6 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	for i, n := range nodes {
		r := rand.New(rand.NewPCG(uint64(i), 7)) // a node shows the same with and without others
		for _, e := range n.watched(r, start.Add(time.Hour+time.Duration(i)*time.Millisecond), 20) {
			tr.Add(e)
		}
	}
	tr.Apply(0)
	if err := tr.Recompute(t.Context()); err != nil {
		t.Fatal(err)
	}
	return tr
}

// floods are what free identities claim.
func floods() map[string]func(i int) simulated {
	return map[string]func(i int) simulated{
		"flapping":                  func(int) simulated { return simulated{agent: lighthouse, cgc: 128, validators: 60_000} },
		"flapping, custody of none": func(int) simulated { return simulated{agent: lighthouse, cgc: 4, validators: 60_000} },
		"all subnets":               func(int) simulated { return simulated{agent: lighthouse, cgc: 128, everything: true} },
		"custody of 8":              func(int) simulated { return simulated{agent: olderLighthouse, cgc: 8, validators: 2000} },
		"custody of 100":            func(int) simulated { return simulated{agent: olderLighthouse, cgc: 100, validators: 2000} },
		"custody of 128":            func(int) simulated { return simulated{agent: olderLighthouse, cgc: 128} },
		"many versions": func(i int) simulated {
			return simulated{agent: fmt.Sprintf("Lighthouse/v9.%d.0-abcdef0/x86_64-linux", i), cgc: 128, validators: 20_000}
		},
	}
}

func places() map[string]func(i int) string {
	return map[string]func(i int) string{
		"address": func(i int) string { return fmt.Sprintf("/ip4/60.1.1.1/tcp/%d", 9000+i) },
		"/24":     func(i int) string { return fmt.Sprintf("/ip4/60.1.1.%d/tcp/9000", 1+i) },
		"/48":     func(i int) string { return fmt.Sprintf("/ip6/2a01:4f8:1:%x::1/tcp/9000", 1+i) },
	}
}

// What one party claims with free identities moves neither a total nor what is learned, and
// does not make honest nodes' intervals wide.
func TestFloods(t *testing.T) {
	for _, n := range []int{100, 1000} {
		if n > 100 && testing.Short() {
			continue
		}
		nodes := honest(n)
		truth := 0
		for _, h := range nodes {
			truth += h.validators
		}
		before := crawled(t, nodes)
		if total := before.State().Totals(); total.Low > float64(truth) || total.High < float64(truth) || total.Concentrated > 0 {
			t.Fatalf("%d honest nodes with %d validators: %+v", n, truth, total)
		}
		for claim, of := range floods() {
			for place, at := range places() {
				if n > 100 && place != "address" {
					continue // weighed by the same code
				}
				t.Run(fmt.Sprintf("%d/%s/%s", n, place, claim), func(t *testing.T) {
					flooded := slices.Clone(nodes)
					for i := range 40 {
						f := of(i)
						f.id, f.address = peerID(500_000+i), at(i)
						flooded = append(flooded, f)
					}
					checkFlood(t, before, crawled(t, flooded), nodes, float64(truth))
				})
			}
		}
	}
}

func checkFlood(t *testing.T, before, after *Tracker, nodes []simulated, truth float64) {
	t.Helper()
	total := after.State().Totals()
	if total.Validators < 0.85*truth || total.Validators > 1.15*truth || total.Low > truth || total.High < truth {
		t.Errorf("total %.0f [%.0f to %.0f], want %.0f", total.Validators, total.Low, total.High, truth)
	}
	if total.LargestPrefix > 0.05 && (total.LargePrefixes != 1 || total.Verdict == estimate.Passed.String()) {
		t.Errorf("a prefix with %.2f of the network: %s, %d are flagged", total.LargestPrefix, total.Verdict, total.LargePrefixes)
	}
	wide, was := 0.0, 0.0
	for _, n := range nodes {
		a, b := after.peers[n.id].Estimate, before.peers[n.id].Estimate
		if a.Trust != b.Trust {
			t.Errorf("trust in %s went from %d to %d", n.agent, b.Trust, a.Trust)
			break
		}
		if w, v := a.High-a.Low, b.High-b.Low; w > 1.1*v+1 {
			t.Errorf("%d validators: [%.0f to %.0f] became [%.0f to %.0f]", n.validators, b.Low, b.High, a.Low, a.High)
		}
		wide, was = wide+a.High-a.Low, was+b.High-b.Low
	}
	if wide > 1.1*was {
		t.Errorf("intervals are %.2f times as wide", wide/was)
	}
	t.Logf("total %.0f [%.0f to %.0f] of %.0f, %s; %d nodes of %d prefixes claim %.0f and count %.0f; largest %.3f; widths %.3f", total.Validators, total.Low, total.High, truth,
		total.Verdict, total.Concentrated, total.Prefixes, total.Claimed, total.Admitted, total.LargestPrefix, wide/was)
}

// Which nodes are limited, and that the totals of an hour can be rebuilt from its rows.
func TestWeightsInTotals(t *testing.T) {
	public := func(net, host int) string { return fmt.Sprintf("/ip4/70.1.%d.%d/tcp/9000", net, host) }
	claims := func(n, validators int, address func(i int) string) (nodes []simulated) {
		for i := range n {
			nodes = append(nodes, simulated{peerID(500_000 + i), address(i), lighthouse, 128, validators, false})
		}
		return nodes
	}
	for _, c := range []struct {
		name    string
		others  int
		nodes   []simulated
		limited int
		verdict string
	}{
		{"three of a /24", 100, claims(3, 2000, func(i int) string { return public(1, i) }), 0, "low"},
		{"four of a /24", 100, claims(4, 2000, func(i int) string { return public(1, i) }), 4, "low"},
		{"four that claim none", 100, claims(4, 0, func(i int) string { return public(1, i) }), 4, "low"},
		{"three with a large share", 100, claims(3, 60_000, func(i int) string { return public(1, i) }), 3, "unsure"},
		{"one with a large share", 100, claims(1, 100_000, func(i int) string { return public(1, i) }), 0, "low"},
		{"four /24s", 100, claims(4, 2000, func(i int) string { return public(i, 1) }), 0, "low"},
		{"four of a private /24", 100, claims(4, 2000, func(i int) string { return fmt.Sprintf("/ip4/10.0.0.%d/tcp/9000", i) }), 0, "low"},
		{"four of a private address", 100, claims(4, 2000, func(i int) string { return fmt.Sprintf("/ip4/10.0.0.1/tcp/%d", i+1) }), 4, "low"},
		{"three of a private address with a large share", 100, claims(3, 60_000, func(i int) string { return fmt.Sprintf("/ip4/10.0.0.1/tcp/%d", i+1) }), 0, "low"},
		{"this machine", 100, claims(4, 2000, func(i int) string { return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", i+1) }), 0, "low"},
		{"without an address", 100, claims(4, 2000, func(int) string { return "" }), 0, "low"},
		{"nobody else", 0, claims(6, 100, func(i int) string { return public(1, i) }), 6, "low"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := crawled(t, append(honest(c.others), c.nodes...))
			total := tr.State().Totals()
			if total.Concentrated != c.limited || total.Verdict != c.verdict || total.Nodes != c.others+len(c.nodes) || c.limited > 0 && !(total.Admitted > 0) {
				t.Errorf("%+v", total)
			}
			if total.Low > total.Validators || total.High < total.Validators || total.High < total.Claimed {
				t.Errorf("%.0f [%.0f to %.0f] with %.0f claimed", total.Validators, total.Low, total.High, total.Claimed)
			}
			sum := 0.0
			for _, client := range total.Clients {
				sum += client.Validators
			}
			if sum < 0.999*total.Validators || sum > 1.001*total.Validators {
				t.Errorf("the clients have %.0f validators, all have %.0f", sum, total.Validators)
			}
			rebuiltTotals(t, tr)
		})
	}
}

// rebuiltTotals compares an hour's totals with those that its rows give.
func rebuiltTotals(t *testing.T, tr *Tracker) {
	t.Helper()
	sum := Sums{}
	for _, row := range tr.Hour() {
		sum.Add(row.Client.Kind, row.Estimate.Estimate, row.Weight)
	}
	if len(tr.totals) != 1 {
		t.Fatalf("%d hours", len(tr.totals))
	}
	want := tr.totals[0]
	want.InboundOnly, want.Prefixes, want.LargePrefixes, want.LargestPrefix, want.NextDigests = 0, 0, 0, 0, nil
	if d := gocmp.Diff(want, sum.totals(tr.learner.model, tr.learner.learned.Multiplicity, want.Hour), cmpopts.EquateApprox(1e-9, 0)); d != "" {
		t.Errorf("(-live +of the rows):\n%s", d)
	}
}

// Of three hundred nodes with addresses of their own thirty percent are hostile, ten to an
// address.
func TestTotalOfANetworkWithHostileNodes(t *testing.T) {
	nodes, truth := honest(210), 0
	for i := range nodes {
		nodes[i].address = fmt.Sprintf("/ip4/127.1.0.%d/tcp/9000", 1+i)
		truth += nodes[i].validators
	}
	claims := slices.Sorted(maps.Keys(floods()))
	for i := range 90 {
		f := floods()[claims[i/10%len(claims)]](i)
		f.id, f.address = peerID(500_000+i), fmt.Sprintf("/ip4/127.2.0.%d/tcp/%d", 1+i/10, 9000+i)
		nodes = append(nodes, f)
	}
	total := crawled(t, nodes).State().Totals()
	if total.Validators < 0.85*float64(truth) || total.Validators > 1.15*float64(truth) || total.Low > float64(truth) {
		t.Errorf("total %.0f [%.0f to %.0f], want %d", total.Validators, total.Low, total.High, truth)
	}
	t.Logf("%d honest: %+v", truth, total)
}

// An operator with many nodes in one prefix counts for less than it claims: in a network
// that is large the total hardly differs, and its interval has the truth.
func TestManyNodesOfAnOperator(t *testing.T) {
	nodes, truth := honest(1000), 0
	for i := range 9 {
		nodes[20*i+16].address = fmt.Sprintf("/ip4/70.1.1.%d/tcp/9000", 1+i) // 110 validators each
	}
	for _, n := range nodes {
		truth += n.validators
	}
	total := crawled(t, nodes).State().Totals()
	if total.Validators < 0.85*float64(truth) || total.Low > float64(truth) || total.High < float64(truth) || total.High > 1.4*float64(truth) {
		t.Errorf("total %.0f [%.0f to %.0f], want %d", total.Validators, total.Low, total.High, truth)
	}
	t.Logf("%d: %+v", truth, total)
}
