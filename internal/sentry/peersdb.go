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

	_ "modernc.org/sqlite" // the driver "sqlite", without cgo

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

const (
	// peersFile is the peer table in the data directory.
	peersFile = "peers.db"
	// peersSchemaVersion is stored in the file as user_version.
	peersSchemaVersion = 1
)

// Times are Unix milliseconds, 0 for none. peers.seq has the bits of a uint64; enr and
// node_id are empty for a peer that only ever dialled us; began is not 0 while a visit
// is under way. dialled keeps addresses as netip.AddrPort writes them.
const peersSchema = `
CREATE TABLE network (name TEXT NOT NULL, genesis_validators_root TEXT NOT NULL, genesis_time INTEGER NOT NULL);
CREATE TABLE peers (
	id TEXT PRIMARY KEY, node_id BLOB NOT NULL, enr TEXT NOT NULL, seq INTEGER NOT NULL,
	due INTEGER NOT NULL, not_before INTEGER NOT NULL, fails INTEGER NOT NULL, reachable INTEGER NOT NULL,
	last_visit INTEGER NOT NULL, last_seen INTEGER NOT NULL, spoke INTEGER NOT NULL,
	watches INTEGER NOT NULL, watched_epochs REAL NOT NULL, watch_weight REAL NOT NULL,
	began INTEGER NOT NULL
);
CREATE TABLE dialled (address TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
`

const peerColumns = `id, node_id, enr, seq, due, not_before, fails, reachable, last_visit, last_seen, spoke,
	watches, watched_epochs, watch_weight, began`

// An update in place: REPLACE would take the row and its key out and put them in again.
const putPeer = `INSERT INTO peers (` + peerColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (id) DO UPDATE SET node_id = excluded.node_id, enr = excluded.enr, seq = excluded.seq,
	due = excluded.due, not_before = excluded.not_before, fails = excluded.fails, reachable = excluded.reachable,
	last_visit = excluded.last_visit, last_seen = excluded.last_seen, spoke = excluded.spoke,
	watches = excluded.watches, watched_epochs = excluded.watched_epochs, watch_weight = excluded.watch_weight,
	began = excluded.began`

// networkID identifies the network that a table is of: peers of another one, or of a
// devnet that was started again, are of no use.
type networkID struct {
	name, genesisValidatorsRoot string
	genesisTime                 int64
}

func networkIDOf(net network.Network) networkID {
	return networkID{net.Name, net.GenesisValidatorsRoot.String(), net.GenesisTime.UnixMilli()}
}

// openDB opens a database for reading and writing; it makes an empty one if there is
// none.
func openDB(path string) (*sql.DB, error) {
	// The driver sorts what is in _pragma, and sets _journal_mode after it: in WAL mode the
	// size of the pages could not be changed any more.
	return openWith(path, url.Values{"_journal_mode": {"WAL"}, "_pragma": {
		// A visit changes one row of some 500 bytes: small pages mean little to write.
		"page_size(1024)", "synchronous(NORMAL)", "busy_timeout(1000)",
		"wal_autocheckpoint(8192)", // pages, 8 MiB: each checkpoint costs two fsyncs
		"secure_delete(ON)",        // an excluded peer must not stay in the file
	}})
}

func openWith(path string, q url.Values) (*sql.DB, error) {
	q.Set("mode", "rwc")
	source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// statements are prepared once: parsing them costs more than running them.
type statements struct{ put, remove, dial, expire *sql.Stmt }

func prepare(ctx context.Context, db *sql.DB) (s statements, err error) {
	for _, st := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&s.put, putPeer},
		{&s.remove, "DELETE FROM peers WHERE id = ?"},
		{&s.dial, "INSERT INTO dialled VALUES (?, ?) ON CONFLICT DO UPDATE SET at = excluded.at"},
		{&s.expire, "DELETE FROM dialled WHERE at < ?"},
	} {
		if *st.to, err = db.PrepareContext(ctx, st.text); err != nil {
			return s, err
		}
	}
	return s, nil
}

// commit writes changes in one transaction.
func (s *Store) commit(ctx context.Context, c changes) error {
	if s.db == nil {
		return os.ErrClosed
	}
	return commit(ctx, s.db, s.statements, c)
}

func commit(ctx context.Context, db *sql.DB, st statements, c changes) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := st.write(ctx, tx, c); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (s statements) write(ctx context.Context, tx *sql.Tx, c changes) error {
	put, remove, dial := tx.StmtContext(ctx, s.put), tx.StmtContext(ctx, s.remove), tx.StmtContext(ctx, s.dial)
	for _, p := range c.peers {
		var err error
		if p.Gone {
			_, err = remove.ExecContext(ctx, p.ID)
		} else {
			_, err = put.ExecContext(ctx, p.values()...)
		}
		if err != nil {
			return fmt.Errorf("peer %s: %w", p.ID, err)
		}
	}
	for a, at := range c.dialled {
		if _, err := dial.ExecContext(ctx, a.String(), at); err != nil {
			return err
		}
	}
	if c.expired > 0 {
		if _, err := tx.StmtContext(ctx, s.expire).ExecContext(ctx, c.expired); err != nil {
			return err
		}
	}
	return nil
}

// buildDB makes a database with the changes in it, complete and fsynced, at a path
// at which a file left by an earlier attempt may be removed.
func buildDB(ctx context.Context, path string, id networkID, c changes) error {
	if err := removeFiles(path, path+"-wal", path+"-shm"); err != nil {
		return err
	}
	db, err := openDB(path)
	if err != nil {
		return err
	}
	return errors.Join(fillDB(ctx, db, id, c), db.Close())
}

func fillDB(ctx context.Context, db *sql.DB, id networkID, c changes) error {
	_, err := db.ExecContext(ctx, fmt.Sprintf("BEGIN; %s PRAGMA user_version = %d; COMMIT", peersSchema, peersSchemaVersion))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "INSERT INTO network VALUES (?, ?, ?)", id.name, id.genesisValidatorsRoot, id.genesisTime)
	if err != nil {
		return err
	}
	st, err := prepare(ctx, db)
	if err != nil {
		return err
	}
	if err := commit(ctx, db, st, c); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)") // all into the file itself, and fsync
	return err
}

// replaceDB replaces the database at path with the one at tmp. The old one is kept
// under its name and suffix, or dropped when suffix is empty. Both are closed.
func replaceDB(tmp, path, suffix string) error {
	if suffix != "" {
		if err := keepAside(path, path+suffix); err != nil {
			return err
		}
	}
	// A write-ahead log must never be left next to another database.
	if err := removeFiles(path+"-wal", path+"-shm"); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return diskio.SyncDir(filepath.Dir(path))
}

// keepAside renames a closed database, and its log if one is left.
func keepAside(path, to string) error {
	if err := removeFiles(to+"-wal", path+"-shm"); err != nil {
		return err
	}
	if err := os.Rename(path+"-wal", to+"-wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(path, to)
}

// removeFiles removes those of the files that exist.
func removeFiles(paths ...string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close closes the database of a store that no sentry ran with. Further calls do
// nothing.
func (s *Store) Close() {
	if s == nil || s.db == nil {
		return
	}
	if err := s.db.Close(); err != nil {
		s.log.Error("the peer table cannot be closed", slog.String("file", s.path), slog.Any("error", err))
	}
	s.db = nil
}
