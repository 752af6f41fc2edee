// Package tracker keeps what is known of each peer now, and the network's hourly
// history: in memory, and in one SQLite file beside the datasets. It is a view of the
// datasets and can always be rebuilt from them.
//
// Add folds an event into drafts, copies of the peers that the open segment touches.
// Once the segment is committed to the datasets, Apply makes the drafts the state and
// Write writes them in one transaction with the segment's number; Drop forgets them. So each
// event counts once, however often it is delivered, and after a crash the number tells
// which segments are still to be read from the datasets (see docs/architecture.md).
package tracker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// File is the database in the data directory.
const File = "tracker.db"

const (
	// Window is how many days of statistics an estimate stands on: validators move, and
	// a hundred watched epochs tell what there is to tell.
	Window = 7
	// countedFor is for how long after its last handshake a node is in totals.
	countedFor = 24 * time.Hour
	// forgetAfter and maxPeers bound the state: peers not heard of for so long go, and
	// beyond so many the ones that nobody could shake hands with, then the longest unseen.
	forgetAfter = 90 * 24 * time.Hour
	maxPeers    = 200_000
	// maxLive bounds the memory of the drafts' statistics, in bytes: liveSize for each day,
	// and observationSize for what is added to it. To encode them after each event would
	// cost more than all else here.
	maxLive, liveSize, observationSize = 16 << 20, 512, 64
	// maxWords bounds the strings of events that are remembered: peers choose some of them.
	maxWords = 4096

	defaultEstimateEvery = time.Hour
	// refreshPerHour is how often between two hourly estimates it is looked which peers'
	// are to be made anew; stale is for how many of these times at most one with new
	// events keeps its old estimate.
	refreshPerHour, stale = 60, 10
	// forgetAddresses is how long addresses are kept after they were last seen to hold.
	forgetAddresses = 30 * 24 * time.Hour
)

// Config of a tracker.
type Config struct {
	Dir string // the data directory
	// Network is the name in events; those of other networks are not tracked.
	Network string
	Params  estimate.Params
	// EstimateEvery is the time between two rows of peer_estimates; zero is an hour.
	EstimateEvery time.Duration
	Log           *slog.Logger
}

// Tracker is the state. Add, Drop, Hour, Apply, Write and Close are for one goroutine, the
// consumer's.
type Tracker struct {
	cfg Config
	db  *sql.DB
	now func() time.Time

	clients memory[*client] // by agent string
	words   memory[string]  // see own
	visits  memory[string]  // names of counts, by outcome

	// The open segment.
	drafts     map[string]*draft
	live       int    // size of the drafts' statistics, see maxLive
	counts     counts // by hour
	totals     []Totals
	told       bool // of another network's events
	refreshed  time.Time
	calibrated *estimate.Calibration // nil before the first learn
	learnedOf  int                   // nodes that it learned from

	// What was committed. mu guards it, and params.
	mu      sync.RWMutex
	peers   map[string]*Peer // values never change
	applied *uint64          // the last segment; nil before the first
	params  estimate.Params
	learned Learned
	hour    int64 // of the newest totals, Unix milliseconds
	model   *estimate.Model
	stale   bool // model is of other params

	unwritten unwritten
	changed   map[string]time.Time // peers with events since their estimate, from when on
	maxPeers  int

	// crash, in tests, is asked before a transaction's commit.
	crash func() error
}

// unwritten is what is in memory and not in the database yet.
type unwritten struct {
	peers  map[string]bool // also those that are gone
	counts counts
	totals []Totals
	// learned changes once an hour, and is a tenth of what a minute writes.
	learned bool
}

// Open opens the data directory's database, making it if missing, and loads it. Its
// errors are ErrDamaged, ErrNewer or ErrOtherNetwork, or of the file system.
func Open(ctx context.Context, cfg Config) (*Tracker, error) {
	return open(ctx, cfg, filepath.Join(cfg.Dir, File))
}

func open(ctx context.Context, cfg Config, path string) (*Tracker, error) {
	if cfg.EstimateEvery == 0 {
		cfg.EstimateEvery = defaultEstimateEvery
	}
	t := &Tracker{
		cfg: cfg, now: time.Now, params: cfg.Params,
		drafts: map[string]*draft{}, counts: counts{}, peers: map[string]*Peer{}, changed: map[string]time.Time{}, maxPeers: maxPeers,
		unwritten: unwritten{peers: map[string]bool{}, counts: counts{}},
		learned:   Learned{Prior: estimate.DefaultPrior()},
		refreshed: time.Now(), // a backlog at the start comes first
	}
	var err error
	if t.db, err = openFile(ctx, path); err != nil {
		return nil, fmt.Errorf("tracker database %s: %w", path, err)
	}
	if err := t.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("tracker database %s: %w", path, err), t.db.Close())
	}
	t.remodel()
	return t, nil
}

// Applied is the last segment whose events are in; ok is false when there is none.
func (t *Tracker) Applied() (segment uint64, ok bool) {
	if t.applied == nil {
		return 0, false
	}
	return *t.applied, true
}

// Add folds an event of the open segment. The tracker keeps nothing of e.
func (t *Tracker) Add(e event.Event) {
	common, id := ofEvent(e)
	if t.cfg.Network != "" && common.Network != t.cfg.Network {
		if !t.told {
			t.cfg.Log.Warn("events of another network are stored, but no validators are estimated from them: --network or --network-dir must name it",
				slog.String("events", common.Network), slog.String("network", t.cfg.Network))
			t.told = true
		}
		return
	}
	d := t.draft(id)
	switch e := e.(type) {
	case *event.PeerDiscovered:
		d.discovered(t, e)
	case *event.MetadataReceived:
		d.handshake(t, e)
	case *event.VisitEnded:
		d.visitEnded(t, e)
	}
	t.counts.add(e, &t.visits)
	if t.live += observationSize; t.live > maxLive {
		t.settleDrafts()
	}
}

func ofEvent(e event.Event) (event.Common, string) {
	switch e := e.(type) {
	case *event.PeerDiscovered:
		return e.Common, e.ID
	case *event.MetadataReceived:
		return e.Common, e.ID
	case *event.VisitEnded:
		return e.Common, e.ID
	}
	return event.Common{}, ""
}

// Drop forgets the open segment: its events come again.
func (t *Tracker) Drop() {
	clear(t.drafts)
	t.live, t.counts, t.totals = 0, counts{}, nil
}

// Apply makes the open segment, which is committed to the datasets, a part of the
// state. Until a Write a crash costs reading the segment from the datasets.
func (t *Tracker) Apply(segment uint64) {
	t.settleDrafts()
	now := t.now()
	t.mu.Lock()
	for id, d := range t.drafts {
		if p := t.peers[id]; p != nil {
			d.Estimate = p.Estimate // made anew since, perhaps
		}
		t.peers[id] = &d.Peer
		t.unwritten.peers[id] = true
		if t.changed[id].IsZero() {
			t.changed[id] = now
		}
	}
	for _, total := range t.totals {
		t.hour = max(t.hour, total.Hour)
	}
	t.applied = &segment
	t.mu.Unlock()
	t.unwritten.counts.merge(t.counts)
	t.unwritten.totals = append(t.unwritten.totals, t.totals...)
	t.Drop()
	if len(t.peers) > t.maxPeers {
		t.evict()
	}
	if now.Sub(t.refreshed) >= t.refreshEvery() {
		t.refresh(false)
		t.refreshed = now
	}
}

func (t *Tracker) refreshEvery() time.Duration { return t.cfg.EstimateEvery / refreshPerHour }

// SetActiveValidators tells the network's active validators, as they were read.
// It may be called at any time.
func (t *Tracker) SetActiveValidators(n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n == 0 || n == t.params.ActiveValidators && t.params.PAggUncertainty == 0 {
		return
	}
	t.params.ActiveValidators, t.params.PAggUncertainty = n, 0
	t.stale = true
}

// Settle learns from all peers and makes all estimates, as an hour's end does, and
// writes them.
func (t *Tracker) Settle(ctx context.Context) error {
	t.learn()
	return t.Write(ctx)
}

// Close writes what is not written yet, the newest estimates too, and closes the
// database. The open segment is forgotten.
func (t *Tracker) Close() error {
	t.Drop()
	t.refresh(true)
	return errors.Join(t.Write(context.Background()), t.db.Close())
}

// Len is the number of peers.
func (t *Tracker) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.peers)
}

// Peer gives one peer, nil when it is not known. It is not to be changed.
func (t *Tracker) Peer(id string) *Peer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.peers[id]
}

// draft is the open segment's copy of a peer.
func (t *Tracker) draft(id string) *draft {
	d := t.drafts[id]
	if d != nil {
		return d
	}
	d = &draft{}
	if p := t.peers[id]; p != nil {
		d.Peer = *p
	} else {
		d.Peer = newPeer(id)
	}
	t.drafts[d.ID] = d
	return d
}

// client is what an agent string says.
type client struct {
	eth2.Client
	filed *eth2.Client // what statistics are filed under
}

// client reads an agent string.
func (t *Tracker) client(agent string) *client {
	return t.clients.of(agent, func(agent string) *client {
		c := eth2.ParseAgent(agent)
		return &client{c, new(clientOf(c))}
	})
}

// own sets a word of an event's that is the same for very many peers to one string for
// all of them.
func (t *Tracker) own(into *string, word string) {
	if *into != word {
		*into = t.words.of(word, func(word string) string { return word })
	}
}

// memory is what was made of each of the last words. Nothing in it holds on to an event,
// whose memory is used again.
type memory[V any] struct{ known map[string]V }

func (m *memory[V]) of(word string, make func(string) V) V {
	v, ok := m.known[word]
	if !ok {
		if m.known == nil || len(m.known) == maxWords {
			m.known = map[string]V{}
		}
		word = strings.Clone(word)
		v = make(word)
		m.known[word] = v
	}
	return v
}

// settleDrafts encodes the drafts' statistics.
func (t *Tracker) settleDrafts() {
	var space []byte
	for _, d := range t.drafts {
		space = d.settle(space)
	}
	t.live = 0
}

// dayOf counts days since 1970.
func dayOf(ms int64) int32 { return int32(ms / (24 * 3600 * 1000)) }

// clientOf is what statistics are filed under.
func clientOf(c eth2.Client) eth2.Client { return eth2.Client{Kind: c.Kind, Version: c.Version} }
