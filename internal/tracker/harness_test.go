package tracker

import (
	"cmp"
	"context"
	"math"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// opened is a tracker whose clock stands at now.
func opened(t testing.TB, dir string, now *time.Time) *Tracker {
	t.Helper()
	tr, err := Open(t.Context(), config(dir))
	if err != nil {
		t.Fatal(err)
	}
	tr.now, tr.refreshed = func() time.Time { return *now }, time.Time{}
	t.Cleanup(func() { tr.store.db.Close() })
	return tr
}

// killed ends a tracker as the death of its process would.
func (t *Tracker) killed(tb testing.TB) {
	tb.Helper()
	if err := t.store.db.Close(); err != nil {
		tb.Fatal(err)
	}
}

// plainDay is a day that can be compared.
type plainDay struct {
	Day    int32
	Client eth2.Client
	Data   []byte
}

// state is what events have made of the peers, and the history.
func state(t *testing.T, tr *Tracker) any {
	t.Helper()
	peers, days := map[string]Peer{}, map[string][]plainDay{}
	for id, p := range tr.peers {
		for _, d := range p.days {
			s, err := d.decode()
			if err != nil {
				t.Fatal(err)
			}
			data, _ := s.AppendBinary(nil)
			days[id] = append(days[id], plainDay{d.day, *d.client, data})
		}
		peers[id] = *p
	}
	h, err := readHistory(t.Context(), tr.store.db, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	return []any{peers, days, h.Counts}
}

// sameState ignores what is not of events.
func sameState() gocmp.Options {
	return gocmp.Options{cmpopts.IgnoreUnexported(Peer{}), cmpopts.IgnoreFields(Peer{}, "Estimate"), cmpopts.EquateEmpty()}
}

func (t *Tracker) flush(ctx context.Context, segment uint64) error {
	t.Apply(segment)
	return t.Write(ctx)
}

func flush(t testing.TB, tr *Tracker, segment uint64) {
	t.Helper()
	if err := tr.flush(t.Context(), segment); err != nil {
		t.Fatal(err)
	}
}

// byPeer is the order in which a rebuild reads events.
func byPeer(all []event.Event) []event.Event {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b event.Event) int {
		ca, ia := ofEvent(a)
		cb, ib := ofEvent(b)
		return cmp.Or(cmp.Compare(ia, ib), cmp.Compare(ca.Timestamp, cb.Timestamp))
	})
	return out
}

// byTime is the order in which events of several sentries come.
func byTime(all []event.Event) []event.Event {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b event.Event) int {
		ca, _ := ofEvent(a)
		cb, _ := ofEvent(b)
		return cmp.Compare(ca.Timestamp, cb.Timestamp)
	})
	return out
}
