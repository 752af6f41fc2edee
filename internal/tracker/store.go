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
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
	"modernc.org/sqlite" // with the driver "sqlite", without cgo
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/chainbound/valtrack/internal/eth2"
)

// schemaVersion stands in the file as user_version.
const schemaVersion = 1

// Errors of Open and Read.
var (
	// ErrDamaged marks a database that cannot be used and is to be rebuilt.
	ErrDamaged = errors.New("the database is damaged or does not fit the datasets: 'valtrack rebuild' makes it anew from them")
	// ErrOtherNetwork marks the database of another network than was asked for.
	ErrOtherNetwork = errors.New("the database is of another network: choose another data directory, or that network")
	// ErrNewer marks a database that a later version has written.
	ErrNewer = errors.New("the database is of a later version: use that version, or let 'valtrack rebuild' make it anew")
	// ErrMissing marks a data directory without a database.
	ErrMissing = errors.New("no tracker database")
)

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
	metaNetwork = "network"
	metaApplied = "applied_segment"
	metaLearned = "learned"
)

// openFile opens the database for writing, with its tables.
func openFile(ctx context.Context, path string) (*sql.DB, error) {
	// Full: a transaction is on the disk before its messages are acknowledged.
	db, err := sql.Open("sqlite", source(path, "rwc", "journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	version, err := userVersion(ctx, db)
	if err == nil && version == 0 {
		_, err = db.ExecContext(ctx, fmt.Sprintf("BEGIN; %s PRAGMA user_version = %d; COMMIT", schema, schemaVersion))
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// source names a file and its settings for the driver.
func source(path, mode string, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_pragma": pragmas}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// userVersion is 0 for a new file.
func userVersion(ctx context.Context, db *sql.DB) (version int, err error) {
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, damaged(ctx, err)
	}
	if version > schemaVersion {
		return 0, fmt.Errorf("%w (schema %d, this version knows %d)", ErrNewer, version, schemaVersion)
	}
	return version, nil
}

// damaged marks an error of reading, unless ctx is the reason, or the disk: a full one
// is no reason to make anything anew.
func damaged(ctx context.Context, err error) error {
	var code *sqlite.Error
	if errors.As(err, &code) {
		switch code.Code() & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY:
			return fmt.Errorf("the disk cannot be used for the database, free space or mend it: %w", err)
		}
	}
	if ctx.Err() != nil || errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// stored is everything in a database but the series of totals and counts.
type stored struct {
	network string
	applied *uint64
	learned *Learned
	hour    int64
	peers   map[string]*Peer
}

// queryer is a database or a transaction of one.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (t *Tracker) load(ctx context.Context) error {
	s, err := loadAll(ctx, t.db)
	if err != nil {
		return damaged(ctx, err)
	}
	if s.network != "" && t.cfg.Network != "" && s.network != t.cfg.Network {
		return fmt.Errorf("%w (it holds %s, asked for was %s)", ErrOtherNetwork, s.network, t.cfg.Network)
	}
	t.peers, t.applied, t.hour = s.peers, s.applied, s.hour
	if s.learned != nil {
		t.learned = *s.learned
	}
	return nil
}

func loadAll(ctx context.Context, db queryer) (stored, error) {
	s := stored{peers: map[string]*Peer{}}
	if err := s.loadMeta(ctx, db); err != nil {
		return s, err
	}
	err := each(ctx, db, "SELECT coalesce(max(hour), 0) FROM totals", func(scan func(...any) error) error { return scan(&s.hour) })
	if err != nil {
		return s, err
	}
	return s, loadPeers(ctx, db, s.peers)
}

func (s *stored) loadMeta(ctx context.Context, db queryer) error {
	return each(ctx, db, "SELECT key, value FROM meta", func(scan func(...any) error) error {
		var key, value string
		if err := scan(&key, &value); err != nil {
			return err
		}
		into := map[string]any{metaNetwork: &s.network, metaApplied: &s.applied, metaLearned: &s.learned}[key]
		if into == nil {
			return nil
		}
		if err := json.Unmarshal([]byte(value), into); err != nil {
			return fmt.Errorf("meta %s: %w", key, err)
		}
		return nil
	})
}

// row is a row of peers.
type row struct {
	id          string
	state, days []byte
}

// loadPeers decodes on all processors while the rows are read.
func loadPeers(ctx context.Context, db queryer, into map[string]*Peer) error {
	rows := make(chan row, 64)
	decoded := make([][]*Peer, runtime.GOMAXPROCS(0))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(rows)
		return each(ctx, db, "SELECT id, state, days FROM peers", func(scan func(...any) error) error {
			var r row
			if err := scan(&r.id, &r.state, &r.days); err != nil {
				return err
			}
			select {
			case rows <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	for i := range decoded {
		g.Go(func() (err error) {
			decoded[i], err = decodePeers(rows)
			return err
		})
	}
	err := g.Wait()
	for _, peers := range decoded {
		for _, p := range peers {
			into[p.ID] = p
		}
	}
	return err
}

// decodePeers decodes rows until there are no more.
func decodePeers(rows <-chan row) (peers []*Peer, err error) {
	interned := map[eth2.Client]*eth2.Client{}
	for r := range rows {
		p := &Peer{ID: r.id}
		if err = json.Unmarshal(r.state, p); err == nil {
			p.days, err = parseDays(r.days, interned)
		}
		if err != nil {
			return nil, fmt.Errorf("peer %.80q: %w", p.ID, err)
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// each calls row for every row of a query.
func each(ctx context.Context, db queryer, query string, row func(scan func(...any) error) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Write writes what is not written yet in one transaction. After an error the state in
// memory is good, and the next Write writes it.
func (t *Tracker) Write(ctx context.Context) (err error) {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write the tracker: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the tracker: %w", errors.Join(err, ignoreDone(tx.Rollback())))
		}
	}()
	if err := t.writePeers(ctx, tx); err != nil {
		return err
	}
	if err := t.writeHours(ctx, tx); err != nil {
		return err
	}
	meta := map[string]any{metaNetwork: t.cfg.Network, metaApplied: t.applied}
	if t.unwritten.learned {
		meta[metaLearned] = t.learned
	}
	for key, value := range meta {
		if err := put(ctx, tx, "INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value); err != nil {
			return err
		}
	}
	if t.crash != nil {
		if err := t.crash(); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	t.unwritten = unwritten{peers: map[string]bool{}, counts: counts{}}
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

func (t *Tracker) writePeers(ctx context.Context, tx *sql.Tx) error {
	// An update in place: REPLACE would take the row and its key out and put them in again.
	insert, err := tx.PrepareContext(ctx, `INSERT INTO peers VALUES (?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET last_seen = excluded.last_seen, state = excluded.state, days = excluded.days`)
	if err != nil {
		return err
	}
	defer insert.Close()
	days := []byte{}                                                 // not null
	for _, id := range slices.Sorted(maps.Keys(t.unwritten.peers)) { // in the order of the index
		p := t.peers[id]
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

func (t *Tracker) writeHours(ctx context.Context, tx *sql.Tx) error {
	for hour, names := range t.unwritten.counts {
		for name, n := range names {
			_, err := tx.ExecContext(ctx, "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", hour, name, n)
			if err != nil {
				return err
			}
		}
	}
	for _, total := range t.unwritten.totals {
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

// fromJSON scans a column of JSON.
type fromJSON struct{ into any }

// Scan implements sql.Scanner.
func (f fromJSON) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("JSON column is a %T", src)
	}
	return json.Unmarshal([]byte(text), f.into)
}
