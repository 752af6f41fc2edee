package clickhouse

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// poll is how often the datasets are asked for new parts.
	poll = 2 * time.Second
	// retryMin and retryMax bound the pause after an error; it doubles from one to the other.
	retryMin, retryMax = time.Second, time.Minute
	// logEvery limits the log of errors that last.
	logEvery = 10 * time.Minute
)

// Stats counts since the sink was made.
type Stats struct {
	Rows     uint64    // inserted, and counted on the server
	Inserts  uint64    // of these rows
	Failures uint64    // attempts that ended with an error
	Replaced uint64    // parts whose rows were removed, to insert them again
	Lost     uint64    // segments of tables that were removed or damaged before they were copied
	Behind   uint64    // segments that are committed at present and not copied, of the table that is furthest behind
	CaughtUp time.Time // when the server last had all; zero before
	// Err is why the copy does not go on at present; nil when it does.
	Err error
}

// Sink copies the datasets of one writer to one server.
type Sink struct {
	writer *dataset.Writer
	target *target
	log    *slog.Logger
	limit  *loglimit.Limiter
	state  *state

	conn   *conn
	schema *schema // nil while not connected
	copied bool    // a part was recorded since the last error
	lagged bool    // there was an error since the server last had all rows
	// claimed is set once the server has the claim of this process.
	claimed bool
	// The constants above, and what a test does at each step, except in tests.
	poll, retryMin, settle time.Duration
	crash                  func(step string) error

	mu    sync.Mutex
	stats Stats
	next  uint64 // the first segment that is not copied, of the table that is furthest behind
}

// New makes the sink of a writer, and connects to nothing. From then on the writer does not merge
// what is copied with what is not. source names the data directory in each row; directory is the
// directory's id, which no other has. Both are kept with the state.
func New(cfg Config, w *dataset.Writer, source, directory string, log *slog.Logger) (*Sink, error) {
	t, err := cfg.target()
	if err != nil {
		return nil, err
	}
	st, err := openState(w.Dir(), t, source, directory, w.Newest() > 0, log) // the first segment has no rows
	if err != nil {
		return nil, err
	}
	s := &Sink{writer: w, target: t, log: log, limit: loglimit.Every(logEvery), state: st, conn: newConn(t), poll: poll, retryMin: retryMin, settle: settle}
	for _, table := range dataset.Tables() {
		part, err := w.NextPart(table, st.table(table).Next)
		if err != nil {
			return nil, err
		}
		if part != nil {
			part.Close()
		}
	}
	s.countNext()
	return s, nil
}

// Stats may be called at any time.
func (s *Sink) Stats() Stats {
	newest := s.writer.Newest() // at present: while a server is silent nothing else is counted
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	if newest >= s.next {
		out.Behind = newest - s.next + 1
	}
	return out
}

func (s *Sink) update(change func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.stats)
}

// Run copies until ctx ends, and returns nil. While the server does not answer, or refuses, it
// tries again and again. Run may be called once.
func (s *Sink) Run(ctx context.Context) error {
	defer s.conn.close()
	pause := s.retryMin
	for {
		wait := s.poll
		err := s.round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.schema = nil // what the server has is looked at again
			if s.copied {
				s.copied, pause = false, s.retryMin
			}
			s.failed(err, pause)
			wait, pause = pause, min(2*pause, retryMax)
		default:
			s.succeeded()
			pause = s.retryMin
		}
		if sleep(ctx, wait) != nil {
			return nil
		}
	}
}

func (s *Sink) failed(err error, pause time.Duration) {
	s.update(func(st *Stats) { st.Err = err; st.Failures++ })
	s.lagged = true
	switch {
	case !s.limit.Allow():
	case errors.Is(err, errRefused):
		s.log.Error("not copying to ClickHouse; events are stored meanwhile", slog.Any("error", err))
	default:
		s.log.Warn("cannot copy to ClickHouse, will retry; events are stored meanwhile", slog.Any("error", err), slog.Duration("retry_in", pause), slog.Uint64("segments_behind", s.Stats().Behind))
	}
}

func (s *Sink) succeeded() {
	s.update(func(st *Stats) { st.Err = nil; st.CaughtUp = time.Now() })
	if s.lagged {
		s.lagged = false
		s.limit = loglimit.Every(logEvery)
		s.log.Info("ClickHouse is up to date again", slog.Uint64("rows_inserted", s.Stats().Rows))
	}
}

// round copies what the server does not have, a part of each table in turn.
func (s *Sink) round(ctx context.Context) error {
	switch {
	case s.schema == nil:
		if err := s.connect(ctx); err != nil {
			return err
		}
	case s.Stats().Behind > 0:
		if err := s.claim(ctx, s.schema); err != nil {
			return err
		}
	}
	for more := true; more; {
		more = false
		for _, t := range s.schema.tables {
			copied, err := s.copyNext(ctx, t)
			s.countNext()
			if err != nil {
				return err
			}
			more = more || copied
		}
	}
	return nil
}

// countNext updates what Stats.Behind is computed from.
func (s *Sink) countNext() {
	next := uint64(math.MaxUint64)
	for _, name := range dataset.Tables() {
		next = min(next, s.state.table(name).Next)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

// connect prepares the database, and begins again when it lacks what it had.
func (s *Sink) connect(ctx context.Context) error {
	version, err := s.conn.version(ctx)
	if err != nil {
		return err
	}
	schema, err := newSchema(s.target, version)
	if err != nil {
		return err
	}
	if err := schema.prepare(ctx, s.conn, s.log); err != nil {
		return err
	}
	if err := s.claim(ctx, schema); err != nil {
		return err
	}
	for _, t := range schema.tables {
		st := s.state.table(t.name)
		if st.Rows == 0 {
			continue
		}
		u := unit{table: t, source: s.state.Source, first: st.First, last: st.Last, rows: st.Rows}
		n, err := s.conn.numbers(ctx, "SELECT count() FROM "+schema.table(t.name)+" WHERE "+u.within(), 1)
		if err != nil {
			return err
		}
		if n[0] != uint64(st.Rows) {
			s.log.Warn("ClickHouse lacks rows that were copied: counting all parts and inserting what is missing",
				slog.String("table", t.name), slog.Uint64("segment", st.Last), slog.Uint64("rows", n[0]), slog.Int64("want", st.Rows))
			s.state.restart()
			s.countNext()
			if err := s.state.write(s.writer.Dir()); err != nil {
				return err
			}
			break
		}
	}
	s.log.Info("copying to ClickHouse", slog.String("url", s.conn.endpoint), slog.String("database", s.target.database), slog.String("version", version))
	s.schema = schema
	return nil
}

// copyNext copies a table's next part; false when there is none.
func (s *Sink) copyNext(ctx context.Context, t table) (bool, error) {
	st := s.state.table(t.name)
	part, err := s.writer.NextPart(t.name, st.Next)
	if err != nil || part == nil {
		return false, err
	}
	defer part.Close()
	if st.Next > 0 && part.First > st.Next {
		if err := s.lose(t.name, st.Next, part.First-1, errors.New("the parts are gone")); err != nil {
			return false, err
		}
	}
	if err := part.Open(ctx); errors.Is(err, dataset.ErrDamaged) {
		return true, s.lose(t.name, part.First, part.Last, err)
	} else if err != nil {
		return false, err
	}
	if part.Rows+part.Purged == 0 || s.expired(part) {
		st.Next, st.Attempt = part.Last+1, 0
		return true, nil // written with the next that has rows
	}
	u := newUnit(t, s.state.Source, part)
	if err := s.copyPart(ctx, u, part); errors.Is(err, errOtherCopy) {
		return true, s.lose(t.name, part.First, part.Last, err)
	} else if err != nil {
		return false, err
	}
	for _, statement := range s.schema.refresh(u, s.state.nextVersion(), st.Stale) {
		if err := s.conn.exec(ctx, statement); err != nil {
			return false, err
		}
	}
	if err := s.step("refreshed"); err != nil {
		return false, err
	}
	*st = tableState{Next: u.last + 1, First: u.first, Last: u.last, Rows: u.rows}
	if err := s.state.write(s.writer.Dir()); err != nil {
		return false, err
	}
	s.copied = true
	s.update(func(st *Stats) { st.Err = nil }) // under load a round may not end for long
	return true, s.step("recorded")
}

// expired reports whether the server would drop the part's rows at once.
func (s *Sink) expired(p *dataset.PartReader) bool {
	return s.target.TTL > 0 && time.Since(p.Stored) > s.target.TTL
}

// lose goes on after segments that cannot be copied, so that they are counted once.
func (s *Sink) lose(table string, first, last uint64, err error) error {
	st := s.state.table(table)
	st.Next, st.Attempt = last+1, 0
	s.update(func(st *Stats) { st.Lost += last - first + 1 })
	s.log.Error("ClickHouse will lack these segments: they are damaged, or retention removed them before they were copied",
		slog.String("table", table), slog.Uint64("first", first), slog.Uint64("last", last), slog.Any("error", err))
	return s.state.write(s.writer.Dir())
}

// step is where the process may die.
func (s *Sink) step(name string) error {
	crashpoint.At("clickhouse " + name)
	if s.crash == nil {
		return nil
	}
	return s.crash(name)
}
