package tracker

import (
	"cmp"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
)

const (
	// refreshPerHour is how often between two hourly estimates those of changed peers are
	// recomputed, if they are due. maxWait is how many of these times a peer with new events
	// keeps its old estimate at most.
	refreshPerHour, maxWait = 60, 10
)

// PeerEstimate is one row of peer_estimates.
type PeerEstimate struct {
	*Peer
	Hour   int64           // Unix milliseconds
	Weight float64         // in the totals, from 0 to 1
	Params estimate.Params // that it was made with
}

// Hour returns the rows of the hour that has begun since the last, if one has: the
// recomputed estimates of all counted nodes. They belong to the open segment, and are
// returned again after a Drop.
func (t *Tracker) Hour() []PeerEstimate {
	every := t.cfg.EstimateEvery.Milliseconds()
	hour := t.now().UnixMilli() / every * every
	if len(t.totals) > 0 || hour <= t.LastHour() || len(t.peers) == 0 { // there is nothing to learn from yet
		return nil
	}
	if t.learnedLately() {
		t.estimateChanged(true)
	} else {
		t.learn()
	}
	nodes, duplicateIDs := counted(t.peers)
	if len(nodes) == 0 {
		return nil
	}
	w := weightsOf(nodes, t.learner.model)
	rows := make([]PeerEstimate, len(nodes))
	for i, p := range nodes {
		rows[i] = PeerEstimate{p, hour, w.of[i], t.learner.model.Params()}
	}
	t.totals = append(t.totals, totalsOf(nodes, duplicateIDs, w, t.learner.model, t.learner.learned.Multiplicity, hour))
	return rows
}

// EstimateEvery is the time between two rows of peer_estimates.
func (t *Tracker) EstimateEvery() time.Duration { return t.cfg.EstimateEvery }

// AsOf makes a time the present, for what follows from the clock: the hour, and what is
// forgotten. Zero is the clock's again.
func (t *Tracker) AsOf(at time.Time) {
	if t.now = time.Now; !at.IsZero() {
		t.now = func() time.Time { return at }
	}
}

// LastHour is that of the newest totals, Unix milliseconds; 0 before the first.
func (t *Tracker) LastHour() int64 { return t.history.lastHour() }

// AddTotals adds an hour's totals to the open segment, from rows that are in the datasets.
// The rows do not say how many ids were duplicates, how many nodes were inbound only, in
// which prefixes they were, which duties they showed, or how uncertain the active validators
// and the mean balance (0 for none) were: the numbers are 0, the multiplicity is not known, the
// uncertainty is taken as it is now. What is too much for one node per validator is unsure, as
// validators may have run on several. KeepHistory replaces the totals by those of the database
// in use.
func (t *Tracker) AddTotals(hour int64, active uint64, balance float64, sum Sums) {
	p := t.learner.model.Params()
	p.ActiveValidators, p.Balance.Mean = active, balance
	m := estimate.NewModel(p, estimate.DefaultPrior(), nil)
	total := sum.totals(m, estimate.Multiplicity{}, hour)
	if total.Verdict == estimate.Failed.String() {
		total.Verdict = estimate.Unsure.String()
	}
	t.totals = append(t.totals, total)
}

// refresh recomputes the estimates of changed peers that are due, or learns again when the
// parameters moved or there are many more nodes.
func (t *Tracker) refresh(all bool) {
	t.takeActive()
	switch {
	case t.learner.fitted == 0 && len(t.peers) > 0, t.learner.movedFar(), t.grown():
		t.learn()
	default:
		t.estimateChanged(all)
	}
}

// takeActive applies what SetActiveValidators and SetBalance have announced.
func (t *Tracker) takeActive() {
	if n := t.active.Load(); n > 0 {
		t.learner.params.ActiveValidators, t.learner.params.PAggUncertainty = n, 0
	}
	if b := t.balance.Load(); b != nil {
		t.learner.params.Balance = *b
	}
}

func (t *Tracker) refreshEvery() time.Duration { return t.cfg.EstimateEvery / refreshPerHour }

// grown reports whether there are half as many nodes again as in the last fit: the first
// minutes of a crawl know few of them.
func (t *Tracker) grown() bool {
	return 2*len(recent(t.peers)) >= 3*max(1, t.learner.fitted)
}

// learnedLately reports whether learning again would give the same result.
func (t *Tracker) learnedLately() bool {
	t.takeActive()
	l := &t.learner
	return l.fitted > 0 && !l.moved() && t.now().UnixMilli()-l.learned.At < t.refreshEvery().Milliseconds()
}

// learn learns from the peers of the last day, and recomputes all estimates.
func (t *Tracker) learn() {
	start := time.Now()
	t.takeActive()
	t.remodel()
	peers := recent(t.peers)
	t.learner.fit(peers, t.now())
	t.evict()
	for id, p := range t.peers {
		if p.Observations > 0 {
			t.changed[id] = time.Time{}
		}
	}
	t.estimateChanged(true)
	nodes, _ := counted(t.peers)
	t.learner.learned.Multiplicity = multiplicityOf(nodes, weightsOf(nodes, t.learner.model).of, t.learner.params)
	t.cfg.Log.Debug("learned from all peers", slog.Int("peers", len(peers)), slog.Duration("took", time.Since(start)))
}

// remodel makes the model for the current parameters. Statistics that were kept under
// other committees, epochs or sync committee periods are dropped.
func (t *Tracker) remodel() {
	l := &t.learner
	if was := l.learned.Params.Params(); was.ActiveValidators > 0 && !was.SameDuties(l.params) {
		t.dropStatistics(was)
	}
	l.remodel()
	t.fold.params = l.params
	t.dirty.learned = true
}

// dropStatistics drops what was reduced under other committees, epochs or sync committee
// periods: its cells mean something else. The observations stay in the datasets.
func (t *Tracker) dropStatistics(was estimate.Params) {
	n := 0
	for _, p := range t.peers {
		if len(p.days) == 0 && len(p.Duties) == 0 {
			continue
		}
		next := *p
		next.days, next.Duties, next.Watched = nil, nil, nil
		t.set(&next)
		n++
	}
	t.fold.dropStatistics()
	if n > 0 {
		t.cfg.Log.Warn("resetting the subnet statistics of all peers because the network's committees have changed: 'valtrack rebuild' recomputes them from the datasets",
			slog.Uint64("committees_per_slot", t.learner.params.CommitteesPerSlot()), slog.Uint64("before", was.CommitteesPerSlot()), slog.Int("peers", n))
	}
}

// due reports whether the estimate of a changed peer is to be recomputed. A visit each
// epoch hardly moves it, so that it can wait, for the next visit if that comes soon, as
// the peer is written then anyway; but not for more than an epoch.
func (t *Tracker) due(id string, since time.Time) bool {
	if p := t.peers[id]; p == nil || p.Estimate == nil {
		return true
	}
	waited, limit := t.now().Sub(since), maxWait*t.refreshEvery()
	if epoch := t.learner.params.Clock.EpochDuration(); epoch > 0 {
		limit = min(limit, epoch)
	}
	return waited >= limit || waited >= limit/2 && t.dirty.peers[id]
}

// estimateChanged recomputes the estimates of changed peers, or only of those that are
// due, on all processors.
func (t *Tracker) estimateChanged(all bool) {
	work := make(chan *Peer)
	results := make([][]estimated, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for i := range results {
		workers.Go(func() {
			for p := range work {
				results[i] = append(results[i], t.learner.estimated(p))
			}
		})
	}
	for id, since := range t.changed {
		if !all && !t.due(id, since) {
			continue
		}
		if p := t.peers[id]; p != nil && p.Observations > 0 {
			work <- p
		}
		delete(t.changed, id)
	}
	close(work)
	workers.Wait()
	for _, list := range results {
		for _, e := range list {
			t.amend(e.peer, e.amended)
		}
	}
}

// evict forgets peers that were not seen for long, those above maxPeers, and old
// addresses. Of those above maxPeers the peers that are more than a prefix may have go
// first. What the open segment has of a peer counts. Sentries, and duties of peers
// that showed none in the week that estimate.FitMultiplicity compares, are forgotten by the newest
// event instead of this machine's clock.
func (t *Tracker) evict() {
	oldest := t.now().Add(-forgetAfter).UnixMilli()
	old := func(p *Peer) bool { p = t.pending(p); return max(p.LastSeen, p.LastVisit) < oldest }
	gone := slices.DeleteFunc(slices.Collect(maps.Values(t.peers)), func(p *Peer) bool { return !old(p) })
	if over := len(t.peers) - len(gone) - t.maxPeers; over > 0 {
		rest := slices.DeleteFunc(slices.Collect(maps.Values(t.peers)), old)
		excess := t.excess(rest)
		slices.SortFunc(rest, func(a, b *Peer) int {
			if excess[a] != excess[b] {
				return cmp.Compare(excess[b], excess[a])
			}
			a, b = t.pending(a), t.pending(b)
			return cmp.Or(cmp.Compare(min(a.Observations, 1), min(b.Observations, 1)), cmp.Compare(a.LastSeen, b.LastSeen))
		})
		gone = append(gone, rest[:over]...)
	}
	for _, p := range gone {
		delete(t.peers, p.ID)
		delete(t.changed, p.ID)
		delete(t.fold.drafts, p.ID)
		t.dirty.peers[p.ID] = true
	}
	newest := t.newestEvent()
	maps.DeleteFunc(t.sentries, func(_ string, s *Sentry) bool { return s.LastSeen < newest-forgetSentry.Milliseconds() })
	before := t.now().Add(-forgetAddresses).UnixMilli()
	compared := t.learner.params.Clock.SlotAt(time.UnixMilli(newest).Add(-Window * 24 * time.Hour))
	for _, p := range t.peers {
		t.amend(p, func(p *Peer) *Peer { return p.withoutAddresses(before).withoutDuties(compared) })
	}
}
