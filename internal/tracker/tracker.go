package tracker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
)

// File is the database in the data directory.
const File = "tracker.db"

const (
	// Window is how many days of statistics an estimate uses: validators move, and a
	// hundred watched epochs are enough evidence.
	Window = 7
	// CountedFor is for how long after it was last met (Peer.LastMet) a node is in totals, up to
	// when the last of all was met.
	CountedFor = 24 * time.Hour
	// forgetAfter and maxPeers bound the state: peers that were not seen for so long are
	// forgotten, and above so many first those without a handshake, then those last seen
	// the longest ago.
	forgetAfter = 90 * 24 * time.Hour
	maxPeers    = 200_000
	// forgetAddresses is how long addresses are kept after they were last seen to hold.
	forgetAddresses = 30 * 24 * time.Hour

	defaultEstimateEvery = time.Hour
)

// Config of a tracker.
type Config struct {
	Dir string // the data directory
	// Network is the name in events; those of other networks are not tracked.
	Network string
	Params  estimate.Params
	// EstimateEvery is the time between two rows of peer_estimates; zero is an hour.
	EstimateEvery time.Duration
	// Places, unless it is nil, finds where peers are.
	Places *geo.Locator
	Log    *slog.Logger
}

// Tracker follows the events of a consumer. All methods but State, SetActiveValidators and
// SetBalance are for one goroutine.
type Tracker struct {
	cfg      Config
	now      func() time.Time
	store    *store
	maxPeers int

	// The open segment.
	fold          *fold
	totals        []Totals
	warnedNetwork bool // that there are events of another network

	// What was committed.
	peers    map[string]*Peer   // values never change
	sentries map[string]*Sentry // by id; values never change
	faults   map[string]string  // of sentries, that were logged, by id
	applied  *uint64            // the last segment; nil before the first
	history  History
	learner  learner
	dirty    dirty

	changed   map[string]time.Time // peers with events since their estimate, and when the first came; zero for now
	refreshed time.Time
	lostDays  uint32 // dropped since the last log line

	active  atomic.Uint64                    // announced by SetActiveValidators; 0 for none
	balance atomic.Pointer[estimate.Balance] // announced by SetBalance; nil for none
	state   atomic.Pointer[State]
}

// Open opens the data directory's database, creating it if it is missing, and loads it. Its
// errors are ErrDamaged, ErrNewer or ErrOtherNetwork, or of the file system.
func Open(ctx context.Context, cfg Config) (*Tracker, error) {
	return open(ctx, cfg, filepath.Join(cfg.Dir, File))
}

func open(ctx context.Context, cfg Config, path string) (*Tracker, error) {
	if cfg.EstimateEvery == 0 {
		cfg.EstimateEvery = defaultEstimateEvery
	}
	store, err := openStore(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("tracker database %s: %w", path, err)
	}
	s, err := load(ctx, store.db)
	if err == nil {
		err = refuseOther(s.Network, cfg.Network)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tracker database %s: %w", path, err), store.db.Close())
	}
	t := &Tracker{
		cfg: cfg, now: time.Now, store: store, maxPeers: maxPeers, fold: newFold(s.peers, s.sentries, cfg.Places),
		peers: s.peers, sentries: s.sentries, faults: map[string]string{}, applied: s.Applied, history: s.History, learner: learner{params: cfg.Params, learned: s.Learned},
		dirty: newDirty(), changed: map[string]time.Time{},
		refreshed: time.Now(), // a backlog at the start comes first
	}
	t.remodel()
	t.findPlaces()
	t.publish()
	return t, nil
}

// findPlaces gives peers of earlier versions their places.
func (t *Tracker) findPlaces() {
	for _, p := range t.peers {
		if place := t.fold.place(p.Multiaddr); p.Place == nil && place != nil {
			next := *p
			next.Place = place
			t.set(&next)
		}
	}
}

// Applied is the last segment whose events are in; ok is false when there is none.
func (t *Tracker) Applied() (segment uint64, ok bool) {
	if t.applied == nil {
		return 0, false
	}
	return *t.applied, true
}

// State is what the tracker knew after the last segment, and after the last Recompute. It may
// be called at any time.
func (t *Tracker) State() *State { return t.state.Load() }

// Add folds an event of the open segment. The tracker keeps nothing of e.
func (t *Tracker) Add(e event.Event) {
	if common, _ := ofEvent(e); t.cfg.Network == "" || common.Network == t.cfg.Network {
		t.fold.add(e)
	} else if !t.warnedNetwork {
		t.cfg.Log.Warn("storing events of another network without estimating validators from them: --network or --network-dir must name it",
			slog.String("events", common.Network), slog.String("network", t.cfg.Network))
		t.warnedNetwork = true
	}
}

// Named notes the sentry id in the key of the event that was added last, whose crawler_id is given.
func (t *Tracker) Named(crawlerID, key string) { t.fold.named(crawlerID, key) }

// Drop forgets the open segment: its events will be redelivered.
func (t *Tracker) Drop() {
	t.fold.reset()
	t.totals = nil
}

// Apply adds the open segment, which is committed to the datasets, to the state, and
// publishes it. If the process dies before the next Write, the next start reads the
// segment from the datasets.
func (t *Tracker) Apply(segment uint64) {
	t.fold.encodeDrafts()
	now := t.now()
	for id, d := range t.fold.drafts {
		t.set(&d.Peer)
		if _, waits := t.changed[id]; d.watchedNow {
			t.changed[id] = time.Time{} // an epoch shows more than a visit
		} else if !waits {
			t.changed[id] = now
		}
	}
	t.applySentries()
	t.addHistory(t.fold.counts, t.totals)
	t.applied = &segment
	t.Drop()
	if len(t.peers) > t.maxPeers {
		t.evict()
	}
	refresh := now.Sub(t.refreshed) >= t.refreshEvery()
	if refresh {
		t.refresh(false)
		t.refreshed = now
	}
	t.publish()
	if refresh {
		t.logSentries()
	}
}

// logSentries logs the faults of sentries when they begin, change and end.
func (t *Tracker) logSentries() {
	list, _ := t.State().Sentries()
	for _, s := range list {
		var names, texts []string
		for _, f := range s.Faults {
			names, texts = append(names, f.Fault), append(texts, f.Text)
		}
		now := strings.Join(names, ",")
		if was := t.faults[s.ID]; was == now {
			continue
		}
		t.faults[s.ID] = now
		who := []any{slog.String("sentry", s.ID), slog.String("location", s.Location)}
		if now == "" {
			t.cfg.Log.Info("a sentry performs like the others again", who...)
		} else {
			t.cfg.Log.Warn("a sentry performs worse than the others", append(who, slog.String("faults", now), slog.String("reason", strings.Join(texts, "; ")))...)
		}
	}
}

// amend replaces a peer by what rule makes of it. While a segment is open the rule changes
// the peer's draft too: Apply makes the draft the peer, and would undo the change otherwise.
func (t *Tracker) amend(p *Peer, rule func(*Peer) *Peer) {
	next := rule(p)
	if next == p {
		return
	}
	t.set(next)
	if d := t.fold.drafts[p.ID]; d != nil {
		d.encodeDays(nil)
		d.Peer = *rule(&d.Peer)
		d.LostDays = max(d.LostDays, next.LostDays) // a lost day may be out of the draft's window
	}
}

// pending is the peer as the open segment will leave it.
func (t *Tracker) pending(p *Peer) *Peer {
	if d := t.fold.drafts[p.ID]; d != nil {
		return &d.Peer
	}
	return p
}

// set replaces a peer, or adds it.
func (t *Tracker) set(p *Peer) {
	before := uint32(0)
	if was := t.peers[p.ID]; was != nil {
		before = was.LostDays
	}
	t.lostDays += max(p.LostDays, before) - before
	t.peers[p.ID] = p
	t.dirty.peers[p.ID] = true
}

func (t *Tracker) addHistory(c counts, totals []Totals) {
	t.history = t.history.with(c, totals)
	t.dirty.counts.merge(c)
	t.dirty.totals = append(t.dirty.totals, totals...)
}

// publish makes the current state available through State. It copies the map of peers: 0.1 ms for
// 10,000 of them, 3 to 7 ms for 200,000, less than a hundredth of what their events cost.
func (t *Tracker) publish() {
	if t.lostDays > 0 {
		t.cfg.Log.Warn("some days of statistics could not be decoded and were dropped: 'valtrack rebuild' recomputes them from the datasets",
			slog.Uint64("days", uint64(t.lostDays)))
		t.lostDays = 0
	}
	t.state.Store(&State{Network: t.cfg.Network, Learned: t.learner.learned, Applied: t.applied, History: t.history, peers: maps.Clone(t.peers), sentries: maps.Clone(t.sentries)})
}

// SetActiveValidators sets the number of the network's active validators, as read from the
// chain; 0 is ignored. It takes effect with the next refresh of the estimates. It may be
// called at any time.
func (t *Tracker) SetActiveValidators(n uint64) { t.active.Store(n) }

// SetBalance sets the mean balance of the network's active validators, as SetActiveValidators
// their number.
func (t *Tracker) SetBalance(b estimate.Balance) { t.balance.Store(&b) }

// Recompute learns from all peers, recomputes all estimates, as at the end of an hour, and
// writes them.
func (t *Tracker) Recompute(ctx context.Context) error {
	t.learn()
	t.publish()
	return t.Write(ctx)
}

// Write writes what the database does not have yet in one transaction. After an error the
// state in memory is good, and the next Write writes it.
func (t *Tracker) Write(ctx context.Context) error {
	meta := map[string]any{metaNetwork: t.cfg.Network, metaApplied: t.applied, metaSentries: t.sentries}
	if t.dirty.learned {
		meta[metaLearned] = t.learner.learned
	}
	if err := t.store.write(ctx, t.dirty, t.peers, meta); err != nil {
		return err
	}
	t.dirty = newDirty()
	return nil
}

// Abandon closes the database as it is, when another process may write it by now. What is
// not written is read from the datasets at the next start.
func (t *Tracker) Abandon() error { return t.store.db.Close() }

// Close forgets the open segment, writes what is not written yet, including estimates that
// are due, and closes the database.
func (t *Tracker) Close() error {
	t.Drop()
	t.refresh(true)
	t.publish()
	return errors.Join(t.Write(context.Background()), t.store.db.Close())
}
