package tracker

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// Read reads a data directory's database, even while a consumer writes it. ErrMissing
// when there is none.
func Read(ctx context.Context, dir string) (s *State, err error) {
	err = inReadOnly(ctx, dir, func(db queryer) error {
		s, err = load(ctx, db)
		return err
	})
	return s, err
}

// ReadHistory reads the hours in [from, to), Unix milliseconds, from a data directory's
// database: for more than the last HistoryHours.
func ReadHistory(ctx context.Context, dir string, from, to int64) (h History, err error) {
	err = inReadOnly(ctx, dir, func(db queryer) error {
		h, err = readHistory(ctx, db, from, to)
		return err
	})
	return h, err
}

// LastParams are those of the last estimates in a data directory's database; ok is false
// when there is no database of the network, or it must be rebuilt. The error is of one that
// cannot be read now.
func LastParams(ctx context.Context, dir, network string) (p estimate.Params, ok bool, err error) {
	var s State
	err = inReadOnly(ctx, dir, func(db queryer) error { return damaged(ctx, s.loadMeta(ctx, db)) })
	switch {
	case NeedsPerson(err) || errors.Is(err, ErrMissing):
		return p, false, nil
	case err != nil || s.Network != network || s.Learned.Params.ActiveValidators == 0:
		return p, false, err
	}
	return s.Params(), true, nil
}

// Check reports why a data directory's database cannot be opened for a network, as Open
// would, without changing anything; nil when there is none. An empty name is any network.
func Check(dir, network string) error {
	var s State
	ctx := context.Background()
	err := inReadOnly(ctx, dir, func(db queryer) error {
		if err := s.loadMeta(ctx, db); err != nil {
			return damaged(ctx, err)
		}
		return refuseOther(s.Network, network)
	})
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrBusy) { // events are stored without it
		return nil
	}
	return err
}

// refuseOther is an ErrOtherNetwork for a database of another network, if both are known.
func refuseOther(have, want string) error {
	if have == "" || want == "" || have == want {
		return nil
	}
	return fmt.Errorf("%w (it holds %s, expected %s)", ErrOtherNetwork, have, want)
}

// queryer is a database or a transaction of one.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// inReadOnly opens the database for reading, in one transaction. read may be called again.
func inReadOnly(ctx context.Context, dir string, read func(queryer) error) error {
	path := filepath.Join(dir, File)
	if !exists(dir) {
		return fmt.Errorf("%w in %s", ErrMissing, dir)
	}
	if f, err := os.Open(path); err != nil { // which the driver reports as a full disk
		return fmt.Errorf("tracker database: %w", err)
	} else if err := f.Close(); err != nil {
		return fmt.Errorf("tracker database: %w", err)
	}
	from := source(path, "ro", busyTimeout)
	err := inTransaction(ctx, from, read)
	if mayNotShare(err) && !hasWAL(path) {
		// Nobody has it open, so that it can be read as it is. Who opened it meanwhile made what is
		// needed to share it.
		if err = inTransaction(ctx, from+"&immutable=1", read); hasWAL(path) {
			err = inTransaction(ctx, from, read)
		}
	}
	switch {
	case mayNotShare(err):
		return fmt.Errorf("tracker database %s: its -wal file needs a -shm file beside it, which this user may not make: run the command as the user that writes there: %w", path, err)
	case err != nil:
		return fmt.Errorf("tracker database %s: %w", path, err)
	}
	return nil
}

// mayNotShare reports whether a database could not be read for want of the files by which processes
// share it, where the directory may not be written.
func mayNotShare(err error) bool {
	var code *sqlite.Error
	return errors.As(err, &code) && (code.Code()&0xff == sqlite3.SQLITE_READONLY || code.Code()&0xff == sqlite3.SQLITE_CANTOPEN)
}

// hasWAL reports whether a database has changes beside its file.
func hasWAL(path string) bool {
	info, err := os.Stat(path + "-wal")
	return err == nil && info.Size() > 0
}

func inTransaction(ctx context.Context, source string, read func(queryer) error) (err error) {
	db, err := sql.Open("sqlite", source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	version, err := userVersion(ctx, db)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return damaged(ctx, err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	if version == 0 {
		var objects int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&objects); err != nil {
			return damaged(ctx, err)
		}
		if objects == 0 { // whoever began to create it had no room on the disk
			return ErrMissing
		}
	}
	return read(tx)
}

// load reads the whole state, of which the history is bounded.
func load(ctx context.Context, db queryer) (*State, error) {
	s := &State{Learned: Learned{Prior: estimate.DefaultPrior()}, peers: map[string]*Peer{}, sentries: map[string]*Sentry{}}
	err := s.loadMeta(ctx, db)
	if err == nil {
		err = s.loadHistory(ctx, db)
	}
	if err == nil {
		err = loadPeers(ctx, db, s.peers)
	}
	if err != nil {
		return nil, damaged(ctx, err)
	}
	return s, nil
}

func (s *State) loadMeta(ctx context.Context, db queryer) error {
	return each(ctx, db, "SELECT key, value FROM meta", func(scan func(...any) error) error {
		var key, value string
		if err := scan(&key, &value); err != nil {
			return err
		}
		into := map[string]any{metaNetwork: &s.Network, metaApplied: &s.Applied, metaLearned: &s.Learned, metaSentries: &s.sentries}[key]
		if into == nil {
			return nil
		}
		if err := json.Unmarshal([]byte(value), into); err != nil {
			return fmt.Errorf("meta %s: %w", key, err)
		}
		return nil
	})
}

func (s *State) loadHistory(ctx context.Context, db queryer) (err error) {
	if s.History.Totals, err = readTotals(ctx, db, fmt.Sprintf("ORDER BY hour DESC LIMIT %d", HistoryHours)); err != nil {
		return err
	}
	s.History.Counts, err = readCounts(ctx, db, fmt.Sprintf("WHERE hour IN (SELECT DISTINCT hour FROM counts ORDER BY hour DESC LIMIT %d)", HistoryHours))
	return err
}

func readHistory(ctx context.Context, db queryer, from, to int64) (h History, err error) {
	within := fmt.Sprintf("WHERE hour >= %d AND hour < %d", from, to)
	if h.Totals, err = readTotals(ctx, db, within); err == nil {
		h.Counts, err = readCounts(ctx, db, within)
	}
	if err != nil {
		return History{}, damaged(ctx, err)
	}
	return h, nil
}

// readTotals reads the totals that a clause selects, oldest first.
func readTotals(ctx context.Context, db queryer, which string) (totals []Totals, err error) {
	query := "SELECT data FROM (SELECT hour, data FROM totals " + which + ") ORDER BY hour"
	err = each(ctx, db, query, func(scan func(...any) error) error {
		var t Totals
		if err := scan(fromJSON{&t}); err != nil {
			return err
		}
		totals = append(totals, t)
		return nil
	})
	return totals, err
}

// readCounts reads the counts that a clause selects, oldest first.
func readCounts(ctx context.Context, db queryer, which string) (counts []HourCounts, err error) {
	err = each(ctx, db, "SELECT hour, name, n FROM counts "+which+" ORDER BY hour", func(scan func(...any) error) error {
		var hour, n int64
		var name string
		if err := scan(&hour, &name, &n); err != nil {
			return err
		}
		if len(counts) == 0 || counts[len(counts)-1].Hour != hour {
			counts = append(counts, HourCounts{hour, map[string]int64{}})
		}
		counts[len(counts)-1].Counts[name] = n
		return nil
	})
	return counts, err
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
