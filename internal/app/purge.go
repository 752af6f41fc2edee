package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/chainbound/valtrack/internal/api"
	"github.com/chainbound/valtrack/internal/clickhouse"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
	"github.com/chainbound/valtrack/internal/sentry"
	"github.com/chainbound/valtrack/internal/spool"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Purged counts what a purge removed.
type Purged struct {
	Peers int // peers with rows, or known to the tracker
	// Unmatched are the entries of the list of which nothing was found.
	Unmatched      []string
	Rows           map[string]int64
	TrackedPeers   int
	RejectedEvents int
	// SpooledEvents were removed from the spool or, while a sentry runs, will be dropped when
	// they are sent.
	SpooledEvents int
	Changes       int // of the API's list
	PeerTable     int // peers of the sentry's peers.db
}

// Purge removes excluded peers from a data directory: their rows in every table, their
// rejected and spooled events and their state in the tracker and the peer table. A peer that has a
// row or a spooled event with an excluded address, or of which the tracker or the peer table knows
// one, is removed as a whole. A purge that was ended at any moment is finished by another one. Of a
// directory without datasets it removes what the sentry there keeps, which must not run meanwhile.
// Errors that the user can fix are ConfigErrors.
func Purge(ctx context.Context, dataDir string, x *sentry.Exclude, log *slog.Logger) (done Purged, err error) {
	if !dataset.Exists(dataDir) {
		return purgeSentry(ctx, dataDir, x, log)
	}
	_, noFile := os.Stat(filepath.Join(dataDir, eventlog.SentryRejectedName))
	if noFile != nil {
		_, noFile = os.Stat(filepath.Join(dataDir, eventlog.OlderSentryRejectedName))
	}
	// A sentry may be running, unless there is a file of its rejected events to be rewritten.
	dir, err := openDataDir(dataDir, DirUse{Consumer: true, Named: true, Sentry: noFile == nil})
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	w, err := dataset.OpenLocked(dir.takeConsumer(), log)
	if err != nil {
		return done, AsConfigError(err)
	}
	defer w.Close()
	p, err := newPurger(x)
	if err != nil {
		return done, err
	}
	unlock, err := p.lockSentry(dataDir, noFile == nil, log)
	if err != nil {
		return done, err
	}
	defer unlock()
	unread, err := p.findPeers(ctx, dataDir)
	if err != nil {
		return done, err
	}
	// All of it, even when one part cannot be read: the error names what is left.
	var errs [6]error
	done.RejectedEvents, errs[0] = eventlog.PurgeRejected(dataDir, p.mentioned, func(keys []event.Key) error { return markRemoved(w, keys) })
	if !p.untracked {
		if done.TrackedPeers, errs[1] = tracker.Purge(ctx, dataDir, p.tracked); errs[1] == nil {
			errs[1] = relearn(ctx, dataDir, done.TrackedPeers > 0, log)
		}
	}
	if errs[2] = clickhouse.Recount(dataDir); errs[2] == nil { // first: a purge may be killed
		done.Rows, errs[2] = w.Purge(ctx, p.peer)
	}
	done.PeerTable, errs[3] = p.purgePeerTable(ctx, dataDir)
	done.SpooledEvents, errs[4] = p.purgeSpool(dataDir, w)
	done.Changes, errs[5] = api.PurgeChanges(dataDir, p.peer, log)
	done.Peers, done.Unmatched = p.conclude()
	if err := errors.Join(unread, errors.Join(errs[:]...)); err != nil {
		return done, fmt.Errorf("the purge is incomplete, run it again: %w", err)
	}
	return done, forgetFound(dataDir)
}

// HasSentryData reports whether a data directory has what a sentry keeps about nodes.
func HasSentryData(dataDir string) bool {
	_, err := os.Stat(filepath.Join(dataDir, spoolDir))
	return err == nil || sentry.HasPeerTable(dataDir)
}

// purgeSentry is Purge for the data directory of a sentry alone.
func purgeSentry(ctx context.Context, dataDir string, x *sentry.Exclude, log *slog.Logger) (done Purged, err error) {
	dir, err := openDataDir(dataDir, DirUse{Sentry: true})
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	p, err := newPurger(x)
	if err != nil {
		return done, err
	}
	unread, err := p.findPeers(ctx, dataDir)
	if err != nil {
		return done, err
	}
	var errs [3]error
	done.Rows = map[string]int64{}
	done.RejectedEvents, errs[0] = eventlog.PurgeRejected(dataDir, p.mentioned, func([]event.Key) error { return nil })
	var unsent int
	done.SpooledEvents, unsent, errs[1] = spool.Purge(filepath.Join(dataDir, spoolDir), p.mentioned)
	if unsent > 0 {
		log.Warn("removed events that were not sent yet: a consumer counts them as missing; 'valtrack check data --allow-missing' accepts as many", slog.Int("events", unsent))
	}
	done.PeerTable, errs[2] = p.purgePeerTable(ctx, dataDir)
	done.Peers, done.Unmatched = p.conclude()
	if err := errors.Join(unread, errors.Join(errs[:]...)); err != nil {
		return done, fmt.Errorf("the purge is incomplete, run it again: %w", err)
	}
	return done, forgetFound(dataDir)
}

// relearn recomputes what the tracker has learned from all nodes together, and with it all
// estimates: the evidence of the removed peers was in it. Totals are then those of a rebuild.
// It does so also when nothing was removed now, since an earlier purge may have been killed.
func relearn(ctx context.Context, dataDir string, removed bool, log *slog.Logger) error {
	net, known, err := NetworkOf(dataDir)
	if err != nil {
		return err
	}
	params, ok, err := tracker.LastParams(ctx, dataDir, net.Name)
	if err != nil {
		return fmt.Errorf("the purge is incomplete, run it again: %w", err)
	}
	if !known || !ok {
		if removed {
			log.Warn("estimates of other nodes still depend on the removed ones: a consumer recomputes them within an hour, 'valtrack rebuild' does so at once")
		}
		return nil
	}
	t, err := tracker.Open(ctx, tracker.Config{Dir: dataDir, Network: net.Name, Params: params, Log: log})
	if err != nil {
		return err
	}
	return errors.Join(t.Recompute(ctx), t.Close())
}

// WouldPurge counts the rows, tracked peers, spooled events and changes that Purge would remove. It changes
// nothing, and a consumer may be running. If the error is dataset.ErrDamaged, all was counted
// but what is in the files that it names.
func WouldPurge(ctx context.Context, dataDir string, x *sentry.Exclude) (found Purged, err error) {
	p, err := newPurger(x)
	if err != nil {
		return found, err
	}
	damaged := p.scanAddresses(ctx, dataDir)
	if damaged != nil && !errors.Is(damaged, dataset.ErrDamaged) {
		return found, damaged
	}
	if p.exclude.HasAddresses() {
		if err := errors.Join(p.scanPeerTable(ctx, dataDir), p.scanSpool(dataDir)); err != nil {
			return found, err
		}
	}
	err = tracker.EachPeer(ctx, dataDir, func(peer *tracker.Peer) {
		if p.foundAt(peer.ID, p.atAddress(peer)); p.peer(peer.ID) {
			found.TrackedPeers++
		}
	})
	if err != nil {
		return found, err
	}
	found.Rows = map[string]int64{}
	for _, table := range dataset.Tables() {
		found.Rows[table] = 0
		err := dataset.ScanTable(ctx, dataDir, table, dataset.Range{}, func(r dataset.Row) error {
			if p.peer(r.Peer()) {
				found.Rows[table]++
			}
			return nil
		})
		if errors.Is(err, dataset.ErrDamaged) {
			damaged = errors.Join(damaged, err)
		} else if err != nil {
			return found, err
		}
	}
	spooled, err := spool.Keys(filepath.Join(dataDir, spoolDir), p.mentioned)
	if err != nil {
		return found, err
	}
	found.SpooledEvents = len(spooled)
	found.Peers, found.Unmatched = p.conclude()
	if found.Changes, err = api.CountChanges(dataDir, p.peer); errors.Is(err, dataset.ErrDamaged) {
		damaged = errors.Join(damaged, err)
	} else if err != nil {
		return found, err
	}
	if damaged != nil {
		return found, fmt.Errorf("the contents of damaged files are not counted: %w", damaged)
	}
	return found, nil
}

// lockSentry keeps a sentry from starting in the directory while it is purged, and notes whether one
// runs already. locked is set when its lock is held here. unlock must be called.
func (p *purger) lockSentry(dataDir string, locked bool, log *slog.Logger) (unlock func(), err error) {
	unlock = func() {}
	if _, noSpool := os.Stat(filepath.Join(dataDir, spoolDir)); locked || noSpool != nil && !sentry.HasPeerTable(dataDir) {
		return unlock, nil
	}
	lock, err := diskio.TakeLock(filepath.Join(dataDir, roleSentry+".lock"))
	var held *diskio.LockedError
	switch {
	case errors.As(err, &held):
		p.sentryRuns = true
		log.Warn("the sentry running here keeps its peer table: it forgets these nodes once they are in its --exclude file; their spooled events are dropped when they would be sent", slog.String("holder", held.Holder()))
		return unlock, nil
	case err != nil:
		return unlock, err
	}
	return func() { lock.Close() }, nil
}

// purgePeerTable removes the peers from the table of a sentry that does not run; one that runs
// forgets them itself.
func (p *purger) purgePeerTable(ctx context.Context, dataDir string) (int, error) {
	if p.sentryRuns || !sentry.HasPeerTable(dataDir) {
		return 0, nil
	}
	return sentry.PurgePeerTable(ctx, dataDir, func(id string, at ...netip.Addr) bool {
		gone := p.id(id) || p.known[id]
		for _, a := range at {
			gone = p.at(a) || gone
		}
		return gone
	})
}

// purgeSpool marks the events of the peers in the sentry's spool as removed, so that the consumer
// drops what is still sent, and removes them from the spool of a sentry that does not run.
func (p *purger) purgeSpool(dataDir string, w *dataset.Writer) (int, error) {
	dir := filepath.Join(dataDir, spoolDir)
	keys, err := spool.Keys(dir, p.mentioned)
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	n := len(keys)
	keys = slices.DeleteFunc(keys, func(k event.Key) bool { return w.Covered().Has(k.Producer(), k.Counter) }) // their rows were removed
	if err := markRemoved(w, keys); err != nil {
		return 0, err
	}
	if p.sentryRuns {
		return n, nil
	}
	n, _, err = spool.Purge(dir, p.mentioned)
	return n, err
}

// markRemoved has the keys of rejected events count as removed, not as missing.
func markRemoved(w *dataset.Writer, keys []event.Key) error {
	removed := dataset.Coverage{}
	for _, k := range keys {
		removed.Add(k.Producer(), k.Counter)
	}
	return w.MarkRemoved(removed)
}

// purger decides which peers are to be removed.
type purger struct {
	exclude *sentry.Exclude
	known   map[string]bool // peers by id, whether they are to be removed
	entries []purgeEntry
	noted   map[string]bool // excluded addresses of rows, whose entries were noted
	// untracked: the tracker could not be read, so that it keeps the addresses that only it
	// knows until a purge has removed the rows of their peers.
	untracked bool
	// sentryRuns in the directory: its peer table and its spool are its own.
	sentryRuns bool
}

// purgeEntry is one entry of the list.
type purgeEntry struct {
	list  *sentry.Exclude // of this entry alone
	found bool
}

func newPurger(x *sentry.Exclude) (*purger, error) {
	p := &purger{exclude: x, known: map[string]bool{}, noted: map[string]bool{}}
	for _, entry := range x.Entries() {
		list, err := sentry.NewExclude("", []string{entry})
		if err != nil {
			return nil, err
		}
		p.entries = append(p.entries, purgeEntry{list: list})
	}
	return p, nil
}

// excluded reports whether the list excludes what is asked about, and notes which entries do.
// Where something has several names each must be asked about, so that no entry is missed.
func (p *purger) excluded(asks func(*sentry.Exclude) bool) bool {
	if !asks(p.exclude) {
		return false
	}
	for i := range p.entries {
		e := &p.entries[i]
		e.found = e.found || asks(e.list)
	}
	return true
}

// conclude counts the peers to be removed, and returns the entries of which nothing was found.
func (p *purger) conclude() (peers int, unmatched []string) {
	for id, gone := range p.known {
		if gone {
			peers++
			p.id(id) // also where an address had decided
		}
	}
	unmatched = []string{}
	for i, e := range p.entries {
		if !e.found {
			unmatched = append(unmatched, p.exclude.Entries()[i])
		}
	}
	return peers, unmatched
}

func (p *purger) id(peer string) bool {
	return p.excluded(func(x *sentry.Exclude) bool { return x.Peer(peer) })
}

func (p *purger) at(a netip.Addr) bool {
	return p.excluded(func(x *sentry.Exclude) bool { return x.Address(a) })
}

func (p *purger) multiaddr(text string) bool {
	if !p.noted[text] && p.excluded(func(x *sentry.Exclude) bool { return x.Multiaddr(text) }) {
		p.noted[text] = true
	}
	return p.noted[text]
}

func (p *purger) peer(id string) bool {
	gone, ok := p.known[id]
	if !ok {
		gone = p.id(id)
		p.known[id] = gone
	}
	return gone
}

// foundFile keeps the ids of the peers that are removed for their addresses while a purge
// runs: the rows that showed the addresses may be gone when it is ended and run again.
const foundFile = "purge_peers.json"

// findPeers finds the peers of which a row or the tracker has an excluded address, and those
// that an earlier purge found that did not come to its end. unread says what of the data
// could not be read, although the rest was.
func (p *purger) findPeers(ctx context.Context, dataDir string) (unread, err error) {
	path := filepath.Join(dataDir, foundFile)
	var found []string
	switch text, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(text, &found); err != nil {
			return nil, ConfigErrorf("%s of an earlier purge is damaged: %w; remove it and purge the same peers again", path, err)
		}
		for _, id := range found {
			p.known[id] = true
		}
	}
	if !p.exclude.HasAddresses() {
		return nil, nil
	}
	damaged := p.scanAddresses(ctx, dataDir)
	if damaged != nil && !errors.Is(damaged, dataset.ErrDamaged) {
		return nil, damaged
	}
	tracked := tracker.EachPeer(ctx, dataDir, func(peer *tracker.Peer) { p.foundAt(peer.ID, p.atAddress(peer)) })
	p.untracked = tracked != nil
	stored := errors.Join(p.scanPeerTable(ctx, dataDir), p.scanSpool(dataDir))
	text, err := json.Marshal(slices.Sorted(maps.Keys(p.known)))
	if err == nil {
		err = diskio.ReplaceFile(path, text, 0o600)
	}
	return errors.Join(damaged, tracked, stored), err
}

// scanPeerTable finds the peers whose record in the sentry's peer table has an excluded address.
func (p *purger) scanPeerTable(ctx context.Context, dataDir string) error {
	if !sentry.HasPeerTable(dataDir) {
		return nil
	}
	return sentry.EachStoredPeer(ctx, dataDir, func(id string, at ...netip.Addr) {
		for _, a := range at {
			p.foundAt(id, p.at(a))
		}
	})
}

// scanSpool finds the peers that an event in the sentry's spool shows at an excluded address: a
// running sentry may have forgotten them, and their other events do not name it.
func (p *purger) scanSpool(dataDir string) error {
	_, err := spool.Keys(filepath.Join(dataDir, spoolDir), func(message []byte) bool {
		var of struct {
			ID        string  `json:"id"`
			IP        *string `json:"ip"`
			IP6       *string `json:"ip6"`
			Multiaddr string  `json:"multiaddr"`
		}
		if json.Unmarshal(message, &of) == nil && of.ID != "" {
			p.foundAt(of.ID, p.address(of.IP))
			p.foundAt(of.ID, p.address(of.IP6))
			p.foundAt(of.ID, p.multiaddr(of.Multiaddr))
		}
		return false
	})
	return err
}

func forgetFound(dataDir string) error {
	if err := os.Remove(filepath.Join(dataDir, foundFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return diskio.SyncDir(dataDir)
}

// scanAddresses reads the addresses of all rows. If the error is dataset.ErrDamaged, it has read
// all but those of the parts that the error names.
func (p *purger) scanAddresses(ctx context.Context, dataDir string) error {
	var damaged error
	for _, scan := range []func() error{
		func() error {
			return dataset.Scan(ctx, dataDir, dataset.Range{}, func(r dataset.DiscoveryRow) error {
				p.foundAt(r.ID, p.address(r.IP))
				p.foundAt(r.ID, p.address(r.IP6))
				return nil
			})
		},
		func() error {
			return dataset.Scan(ctx, dataDir, dataset.Range{}, func(r dataset.MetadataRow) error {
				p.foundAt(r.ID, p.multiaddr(r.Multiaddr))
				return nil
			})
		},
		func() error {
			return dataset.Scan(ctx, dataDir, dataset.Range{}, func(r dataset.VisitRow) error {
				p.foundAt(r.ID, r.Multiaddr != nil && p.multiaddr(*r.Multiaddr))
				return nil
			})
		},
	} {
		if err := scan(); errors.Is(err, dataset.ErrDamaged) {
			damaged = errors.Join(damaged, err)
		} else if err != nil {
			return err
		}
	}
	return damaged
}

func (p *purger) foundAt(peer string, excluded bool) {
	if excluded {
		p.known[peer] = true
	}
}

func (p *purger) address(text *string) bool {
	if text == nil || p.noted[*text] {
		return text != nil
	}
	if addr, err := netip.ParseAddr(*text); err == nil && p.at(addr) {
		p.noted[*text] = true
	}
	return p.noted[*text]
}

// mentioned reports whether a rejected message is of a peer to be removed. It may be
// damaged, so what it names counts, in whatever field.
func (p *purger) mentioned(message []byte) bool {
	gone := p.exclude.Text(message, func(id string) bool { return p.known[id] || p.exclude.Peer(id) })
	return gone && (p.names(message) || gone) // it notes the entries
}

func (p *purger) tracked(peer *tracker.Peer) bool {
	named, found := p.peer(peer.ID), p.atAddress(peer)
	return named || found
}

// atAddress reports whether the tracker has an excluded address of the peer.
func (p *purger) atAddress(peer *tracker.Peer) bool {
	found := p.multiaddr(peer.Multiaddr)
	for _, ip := range []*string{&peer.Record.IP, &peer.Record.IP6} {
		found = p.address(ip) || found
	}
	found = p.names([]byte(peer.Address)) || found
	for _, e := range peer.Endpoints {
		found = p.names([]byte(e.Address)) || found
	}
	return found
}

// names reports whether a text has the id or an address of an excluded peer.
func (p *purger) names(text []byte) bool {
	return p.excluded(func(x *sentry.Exclude) bool { return x.Text(text, x.Peer) })
}
