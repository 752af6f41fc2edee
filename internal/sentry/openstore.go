package sentry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/chainbound/valtrack/internal/eth2/network"
)

// Errors of opening a database.
var (
	errNewerSchema  = errors.New("it was written by a later version of valtrack: use that version, or remove the file to start from the bootnodes")
	errOtherNetwork = errors.New("the peer table belongs to another network")
	// errEarlierRun is the errOtherNetwork of a network that was started again, as a devnet
	// is at each start.
	errEarlierRun = fmt.Errorf("%w: an earlier run of this one", errOtherNetwork)
	errDamaged    = errors.New("the peer table is damaged")
)

// Files that cannot be used are kept under these names.
const (
	damagedSuffix = ".damaged"
	otherSuffix   = ".other"
)

// OpenStore reads the peer table in the data directory, or creates an empty one, or one
// from the peers.ndjson of an earlier version. At most maxPeers are read; 0 means
// defaultMaxPeers. A damaged file is kept beside as peers.db.damaged, and everything
// readable in it is imported; one of another network is kept as peers.db.other. An
// error means that the disk cannot be read or written, or that a later version
// wrote the file.
func OpenStore(dir string, net network.Network, maxPeers int, log *slog.Logger) (*Store, error) {
	if maxPeers <= 0 {
		maxPeers = defaultMaxPeers
	}
	s := &Store{
		path: filepath.Join(dir, peersFile), network: networkIDOf(net), maxPeers: maxPeers, log: log,
		loaded: newLoaded(), wake: make(chan struct{}, 1), pending: newChanges(),
	}
	if err := s.open(context.Background()); err != nil {
		s.Close()
		return nil, fmt.Errorf("peer table %s: %w", s.path, withErrno(err))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	var kept string
	err := s.load(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.importJournal(ctx)
	case errors.Is(err, errOtherNetwork):
		kept = otherSuffix
		level := slog.LevelWarn
		if errors.Is(err, errEarlierRun) {
			level = slog.LevelInfo
		}
		s.log.Log(ctx, level, "starting a new peer table",
			slog.String("file", s.path), slog.Any("reason", err), slog.String("kept_as", s.path+kept))
	case errors.Is(err, errDamaged):
		kept = damagedSuffix
		s.log.Warn("the peer table is damaged: continuing with the peers that can be read",
			slog.String("file", s.path), slog.Any("error", err),
			slog.Int("peers", len(s.loaded.peers)), slog.String("kept_as", s.path+kept))
	case err != nil:
		return err
	default:
		return s.dropJournal()
	}
	s.Close()
	return s.create(ctx, kept)
}

// create builds a database from what is loaded and opens it. The existing one is kept
// under its name and suffix.
func (s *Store) create(ctx context.Context, suffix string) error {
	all := newChanges()
	for id, p := range s.loaded.peers {
		row := rowOf(p)
		if _, open := s.loaded.open[id]; open {
			row.Began = max(row.LastSeen, 1)
		}
		all.peers[id] = row
	}
	for a, at := range s.loaded.dialled {
		all.dialled[a] = at.UnixMilli()
	}
	tmp := s.path + ".tmp"
	if err := buildDB(ctx, tmp, s.network, all); err != nil {
		return err
	}
	if err := replaceDB(tmp, s.path, suffix); err != nil {
		return err
	}
	var err error
	if s.db, err = openDB(s.path); err != nil {
		return err
	}
	s.statements, err = prepare(ctx, s.db)
	return err
}

// load opens the database and reads it; an error of fs.ErrNotExist when there is none,
// or an empty file.
func (s *Store) load(ctx context.Context) (err error) {
	if _, err := os.Stat(s.path); err != nil {
		return err
	}
	if s.db, err = openDB(s.path); err != nil {
		return err
	}
	empty, err := checkHead(ctx, s.db, s.network)
	if err := classify(err); errors.Is(err, errDamaged) {
		return errors.Join(err, s.salvage(ctx))
	} else if err != nil {
		return err
	}
	if empty {
		s.Close()
		return fs.ErrNotExist
	}
	if err := classify(s.read(ctx)); err != nil {
		return err
	}
	s.statements, err = prepare(ctx, s.db)
	return classify(err)
}

// salvage reads what is left of a damaged file. Without writable_schema SQLite reads
// nothing of one that is shorter than its header says.
func (s *Store) salvage(ctx context.Context) (err error) {
	s.Close()
	if s.db, err = openWith(s.path, url.Values{"_pragma": {"writable_schema(ON)"}}); err != nil {
		return err
	}
	return s.read(ctx)
}

// read reads all rows. After damage it continues from the other end of the table.
func (s *Store) read(ctx context.Context) error {
	since := time.Now().Add(-time.Hour) // far more than the spacing
	bad, err := s.readPeers(ctx, "ASC", since)
	if err != nil {
		if errors.Is(classify(err), errDamaged) {
			_, again := s.readPeers(ctx, "DESC", since)
			err = errors.Join(err, again)
		}
		return errors.Join(err, s.readDialled(ctx, since))
	}
	if err := s.readDialled(ctx, since); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d invalid rows", errDamaged, bad)
	}
	var verdict string
	if err := s.db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", errDamaged, verdict)
	}
	return nil
}

// readPeers reads the peers in the order of their rowids; bad counts rows that make no
// sense.
func (s *Store) readPeers(ctx context.Context, order string, since time.Time) (bad int, err error) {
	err = readRows(ctx, s.db, "SELECT "+peerColumns+" FROM peers ORDER BY rowid "+order, func(scan func(...any) error) error {
		row, ok := scanPeer(scan)
		if !ok || !s.loaded.apply(row, s.maxPeers, since) {
			bad++
			return nil
		}
		if s.loaded.peers[row.ID] == nil { // the bound was higher before
			s.pending.peers[row.ID] = storedPeer{ID: row.ID, Gone: true}
		}
		return nil
	})
	return bad, err
}

// readDialled reads the addresses that were dialled after since.
func (s *Store) readDialled(ctx context.Context, since time.Time) error {
	return readRows(ctx, s.db, "SELECT address, at FROM dialled", func(scan func(...any) error) error {
		var row storedPeer
		if err := scan(&row.Address, &row.Began); err != nil {
			return err
		}
		if !s.loaded.apply(row, s.maxPeers, since) {
			return fmt.Errorf("%w: address %.80q", errDamaged, row.Address)
		}
		return nil
	})
}

// classify marks an error of reading as damage, unless the disk or the permissions are
// the reason.
func classify(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM,
			sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
			return err
		}
	}
	if err == nil || errors.Is(err, errNewerSchema) || errors.Is(err, errOtherNetwork) || errors.Is(err, errDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", errDamaged, err)
}

// withErrno adds the system's error to SQLite's own code of a full disk, by which callers
// know that a later start may succeed.
func withErrno(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w: %w", err, syscall.ENOSPC)
	}
	return err
}

// checkHead checks the schema version and the network. empty is true for a new file.
func checkHead(ctx context.Context, db *sql.DB, want networkID) (empty bool, err error) {
	var version, objects int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return false, err
	}
	if version > peersSchemaVersion {
		return false, fmt.Errorf("%w (schema %d, this version knows %d)", errNewerSchema, version, peersSchemaVersion)
	}
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&objects); err != nil {
		return false, err
	}
	if version == 0 && objects == 0 {
		return true, nil
	}
	var got networkID
	row := db.QueryRowContext(ctx, "SELECT name, genesis_validators_root, genesis_time FROM network")
	if err := row.Scan(&got.name, &got.genesisValidatorsRoot, &got.genesisTime); err != nil {
		return false, err
	}
	restarted := want
	restarted.genesisTime = got.genesisTime
	switch got {
	case want:
		return false, nil
	case restarted:
		return false, errEarlierRun
	}
	return false, fmt.Errorf("%w, %s", errOtherNetwork, got.name)
}

// readRows calls apply for each row of a query until there are no more.
func readRows(ctx context.Context, db *sql.DB, query string, apply func(scan func(...any) error) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := apply(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Peers is the number of peers that were read.
func (s *Store) Peers() int { return len(s.loaded.peers) }

// Known lists at most limit ENRs to start discovery with, none of an excluded node: of
// reachable peers first, then of those seen last. It is for the time before Run.
func (s *Store) Known(limit int, exclude *Exclude) []string {
	var known []*peer
	for _, p := range s.loaded.peers {
		if p.text != "" {
			known = append(known, p)
		}
	}
	slices.SortFunc(known, func(a, b *peer) int {
		if a.reachable != b.reachable {
			if a.reachable {
				return -1
			}
			return 1
		}
		return b.lastSeen.Compare(a.lastSeen)
	})
	texts := make([]string, 0, min(limit, len(known)))
	for _, p := range known {
		if len(texts) == limit {
			break
		}
		if !exclude.knows(p) {
			texts = append(texts, p.text)
		}
	}
	return texts
}
