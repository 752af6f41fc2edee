package tracker

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// Nodes that run the same validators are recognised by the duties that they show together, in
// whatever order their events come, and no other node is named.
func TestMultiplicityOfClusters(t *testing.T) {
	now := start.Add(6 * time.Hour)
	var events []event.Event
	attachments, validators := 0.0, 0.0
	for i := range 60 {
		n := simulated{peerID(i), fmt.Sprintf("/ip4/50.%d.1.1/tcp/9000", i), lighthouse, 128, 150, false}
		seed := i
		if i < 20 { // in clusters of four
			seed = i / 4
			validators += float64(n.validators) / 4
		} else {
			validators += float64(n.validators)
		}
		attachments += float64(n.validators)
		events = append(events, n.watched(rand.New(rand.NewPCG(uint64(seed), 9)), start.Add(time.Hour+time.Duration(i)*time.Millisecond), 20)...)
	}
	measure := func(events []event.Event) (*Tracker, Totals) {
		tr := opened(t, t.TempDir(), &now)
		for _, e := range events {
			tr.Add(e)
		}
		tr.Apply(0)
		if err := tr.Recompute(t.Context()); err != nil {
			t.Fatal(err)
		}
		return tr, tr.State().Totals()
	}
	tr, total := measure(events)
	k, truth := total.Multiplicity, attachments/validators
	if k == nil || math.Abs(k.Mean/truth-1) > 0.1 || k.Low > truth || k.High < truth || math.Abs(k.Nodes-4) > 0.5 {
		t.Fatalf("%+v, want %.2f", k, truth)
	}
	if u := total.Unaccounted; u.Share == nil || u.High == nil || !(u.Low <= *u.Share && *u.Share <= *u.High) || *u.Share < 0.9 {
		t.Errorf("unaccounted %+v", u)
	}
	read, err := Read(t.Context(), tr.cfg.Dir)
	if err != nil || read.Totals().Multiplicity == nil || *read.Totals().Multiplicity != *k {
		t.Errorf("read again: %+v, %v", read.Totals().Multiplicity, err)
	}
	// A watch needs its handshake before it, nothing else.
	var late []event.Event
	for pair := range slices.Chunk(events, 2) {
		late = append(slices.Clone(pair), late...)
	}
	if _, again := measure(late); again.Multiplicity == nil || *again.Multiplicity != *k {
		t.Errorf("in another order: %+v, want %+v", again.Multiplicity, k)
	}
	var of []string
	for _, p := range tr.peers {
		if len(p.Duties) == 0 {
			of = append(of, p.ID)
		}
	}
	if len(of) > 0 {
		t.Errorf("no duties of %v", of)
	}
}
