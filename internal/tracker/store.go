package tracker

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"modernc.org/sqlite" // with the driver "sqlite", without cgo
	sqlite3 "modernc.org/sqlite/lib"
)

// schemaVersion is the file's user_version. It also stands for the encodings within: it
// grows when an earlier program could not read what this one writes, so that the earlier
// one refuses the file. A file of an earlier version is read as it is, and gets this one
// with the first write.
//
//  1. days in the encodings of estimate.Statistics up to 4
//  2. those up to 6, whose readings have the keys of their windows
const schemaVersion = 2

// Errors of Open and Read.
var (
	// ErrDamaged marks a database that cannot be used and must be rebuilt.
	ErrDamaged = errors.New("the database is damaged or does not match the datasets: 'valtrack rebuild' recomputes it from them")
	// ErrOtherNetwork marks a database of another network than the configured one.
	ErrOtherNetwork = errors.New("the database belongs to another network: choose another data directory, or that network")
	// ErrNewer marks a database that a later version has written.
	ErrNewer = errors.New("the database was written by a later version: use that version, or recompute it with 'valtrack rebuild'")
	// ErrBusy marks a database that another program has locked.
	ErrBusy = errors.New("another program has locked the database: stop it")
	// ErrMissing marks a data directory without a database.
	ErrMissing = errors.New("no tracker database")
)

// NeedsRebuild reports whether an error of Open or Read stays until the database is recomputed,
// or a later version runs. Events can be stored meanwhile: a rebuild reads them.
func NeedsRebuild(err error) bool { return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNewer) }

// NeedsPerson reports whether an error of Open or Read stays until somebody does something:
// others, such as of a lock or a full disk, may go away by themselves.
func NeedsPerson(err error) bool {
	return NeedsRebuild(err) || errors.Is(err, ErrOtherNetwork)
}

// peers.state is a Peer as JSON, days its statistics (appendDays); totals.data is a
// Totals as JSON. counts are events by hour (Unix ms). meta has JSON values.
const schema = `
CREATE TABLE meta   (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE peers  (id TEXT PRIMARY KEY, last_seen INTEGER NOT NULL, state TEXT NOT NULL, days BLOB NOT NULL);
CREATE TABLE counts (hour INTEGER, name TEXT, n INTEGER NOT NULL, PRIMARY KEY (hour, name)) WITHOUT ROWID;
CREATE TABLE totals (hour INTEGER PRIMARY KEY, data TEXT NOT NULL);
`

// Keys of meta.
const (
	metaNetwork  = "network"
	metaApplied  = "applied_segment"
	metaLearned  = "learned"
	metaSentries = "sentries"
)

// store is the database, opened for writing.
type store struct {
	db      *sql.DB
	version int // the file's user_version
	// crash, in tests, is called before a transaction's commit.
	crash func() error
}

// dirty is what has not been written to the database yet.
type dirty struct {
	peers  map[string]bool // also those that were removed
	counts counts
	totals []Totals
	// learned changes once an hour, and is a tenth of what a minute writes.
	learned bool
}

func newDirty() dirty { return dirty{peers: map[string]bool{}, counts: counts{}} }

// busyTimeout bounds each wait for a lock that another program has on the database, in ms:
// commits wait for the tracker.
const busyTimeout = "busy_timeout(2000)"

// openStore opens the database, creating it with its tables if it is missing.
func openStore(ctx context.Context, path string) (*store, error) {
	// Full: a transaction is on disk before its messages are acknowledged.
	db, err := sql.Open("sqlite", source(path, "rwc", busyTimeout, "journal_mode(WAL)", "synchronous(FULL)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	version, err := userVersion(ctx, db)
	if err == nil && version == 0 {
		_, err = db.ExecContext(ctx, fmt.Sprintf("BEGIN; %s PRAGMA user_version = %d; COMMIT", schema, schemaVersion))
		version = schemaVersion
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &store{db: db, version: version}, nil
}

// source names a file and its settings for the driver.
func source(path, mode string, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_pragma": pragmas}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// userVersion is 0 for a new file. A later version than this program's is ErrNewer.
func userVersion(ctx context.Context, db *sql.DB) (version int, err error) {
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, damaged(ctx, err)
	}
	if version > schemaVersion {
		return 0, fmt.Errorf("%w (schema %d, this version reads up to %d)", ErrNewer, version, schemaVersion)
	}
	return version, nil
}

// damaged marks an error of reading as ErrDamaged, unless the cause is ctx or the disk: a
// full disk is no reason to rebuild.
func damaged(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if err := markBusy(err); errors.Is(err, ErrBusy) {
		return err
	}
	var code *sqlite.Error
	if errors.As(err, &code) {
		switch code.Code() & 0xff {
		case sqlite3.SQLITE_READONLY:
			return fmt.Errorf("this user may not write the database: %w", err)
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM:
			return fmt.Errorf("cannot write the database, free disk space or repair the disk: %w", err)
		}
	}
	if ctx.Err() != nil || errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// markBusy marks the error of a lock that another program has as ErrBusy.
func markBusy(err error) error {
	var code *sqlite.Error
	if errors.As(err, &code) && code.Code()&0xff == sqlite3.SQLITE_BUSY {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

// write writes in one transaction what is dirty, peers from their map, and the values of
// meta.
func (s *store) write(ctx context.Context, d dirty, peers map[string]*Peer, meta map[string]any) (err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write the tracker: %w", markBusy(err))
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the tracker: %w", errors.Join(markBusy(err), ignoreDone(tx.Rollback())))
		}
	}()
	if s.version < schemaVersion {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)); err != nil {
			return err
		}
	}
	if err := writePeers(ctx, tx, d.peers, peers); err != nil {
		return err
	}
	if err := writeHours(ctx, tx, d); err != nil {
		return err
	}
	for key, value := range meta {
		if err := put(ctx, tx, "INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value); err != nil {
			return err
		}
	}
	if s.crash != nil {
		if err := s.crash(); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.version = schemaVersion
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

func writePeers(ctx context.Context, tx *sql.Tx, ids map[string]bool, peers map[string]*Peer) error {
	// An update in place: REPLACE would delete the row with its key and insert both again.
	insert, err := tx.PrepareContext(ctx, `INSERT INTO peers VALUES (?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET last_seen = excluded.last_seen, state = excluded.state, days = excluded.days`)
	if err != nil {
		return err
	}
	defer insert.Close()
	days := []byte{}                                   // not null
	for _, id := range slices.Sorted(maps.Keys(ids)) { // in the order of the index
		p := peers[id]
		if p == nil {
			if _, err := tx.ExecContext(ctx, "DELETE FROM peers WHERE id = ?", id); err != nil {
				return err
			}
			continue
		}
		state, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("peer %s: %w", id, err)
		}
		days = appendDays(days[:0], p.days)
		if _, err := insert.ExecContext(ctx, id, p.LastSeen, string(state), days); err != nil {
			return err
		}
	}
	return nil
}

func writeHours(ctx context.Context, tx *sql.Tx, d dirty) error {
	for hour, names := range d.counts {
		for name, n := range names {
			_, err := tx.ExecContext(ctx, "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", hour, name, n)
			if err != nil {
				return err
			}
		}
	}
	for _, total := range d.totals {
		if err := put(ctx, tx, "INSERT OR REPLACE INTO totals VALUES (?, ?)", total.Hour, total); err != nil {
			return err
		}
	}
	return nil
}

// put writes a key and a value as JSON.
func put(ctx context.Context, tx *sql.Tx, query string, key, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%v: %w", key, err)
	}
	_, err = tx.ExecContext(ctx, query, key, string(text))
	return err
}

// exists reports whether a data directory has a database.
func exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, File))
	return err == nil
}
