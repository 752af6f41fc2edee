package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/loglimit"
)

var errKilled = errors.New("killed")

// steps of a copy, in their order; see Sink.step.
var steps = []string{"insert", "inserted", "counted", "refreshed", "recorded"}

// Wherever the process dies, the next one makes the server have each row once.
func TestKilledAtEachStep(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := openWriter(t, t.TempDir())
		m := newMaker()
		for i, step := range steps {
			for _, nth := range []int{0, 3} {
				appendRows(t, w, m, 10+i)
				commit(t, w)
				dying, seen := newSink(t, w, url), 0
				dying.crash = func(at string) error {
					if at == step {
						if seen++; seen > nth {
							return errKilled
						}
					}
					return nil
				}
				if err := dying.round(t.Context()); !errors.Is(err, errKilled) {
					t.Fatalf("at %s: error %v", step, err)
				}
			}
		}
		s := newSink(t, w, url)
		round(t, s)
		sameRows(t, s)
		sameSeries(t, s)
	})
}

// faulty is a server that fails in front of another.
type faulty struct {
	mu    sync.Mutex
	next  string // what happens to the next insert of rows
	proxy *httputil.ReverseProxy
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	how := ""
	if strings.Contains(r.URL.Query().Get("query"), "FORMAT RowBinary") {
		how, f.next = f.next, ""
	}
	f.mu.Unlock()
	switch how {
	case "lost answer":
		f.proxy.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
		panic(http.ErrAbortHandler)
	case "cut":
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(r.Body, 5000), r.Body}
		r.ContentLength = -1
		f.proxy.ServeHTTP(w, r)
	case "refused":
		http.Error(w, "Code: 241. DB::Exception: Memory limit\n\x1b[31m exceeded", http.StatusInternalServerError)
	case "closed":
		panic(http.ErrAbortHandler)
	case "pretended":
		io.Copy(io.Discard, r.Body)
	default:
		f.proxy.ServeHTTP(w, r)
	}
}

func startFaulty(t *testing.T, server string) (*faulty, string) {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{proxy: httputil.NewSingleHostReverseProxy(target)}
	f.proxy.ErrorLog = log.New(io.Discard, "", 0)
	f.proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	front := httptest.NewServer(f)
	t.Cleanup(front.Close)
	return f, front.URL
}

// Whatever becomes of a request, each row is on the server once in the end: a lost answer, a
// request that ends in the middle, an error, and a server that says that it has stored what it has not.
func TestFaultsOfTheServer(t *testing.T) {
	onServers(t, func(t *testing.T, server string) {
		f, front := startFaulty(t, server)
		w := openWriter(t, t.TempDir())
		m := newMaker()
		s := newSink(t, w, front)
		s.settle = 0
		direct := newSink(t, w, server)
		for _, how := range []string{"lost answer", "cut", "refused", "closed", "pretended"} {
			appendRows(t, w, m, 30)
			commit(t, w)
			f.mu.Lock()
			f.next = how
			f.mu.Unlock()
			failures := 0
			for err := s.round(t.Context()); err != nil; err = s.round(t.Context()) {
				if failures++; failures > 3 {
					t.Fatalf("%s: %v", how, err)
				}
				if strings.ContainsAny(err.Error(), "\n\x1b") {
					t.Errorf("%s: error %q", how, err)
				}
				s.schema = nil
			}
			if failures == 0 {
				t.Errorf("%s: no error", how)
			}
			sameRows(t, direct)
		}
		sameSeries(t, direct)
	})
}

// What was merged while nobody copied, and what the server has lost, is copied again; and nothing
// is there twice.
func TestCopyIsMendedByCounting(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		dir := t.TempDir()
		w := openWriter(t, dir)
		m := newMaker()
		commitInOneSpan(t, w, m, 4)
		first := newSink(t, w, url)
		first.crash = func(at string) error {
			if first.state.table(dataset.Discovery).Next == 4 && at == "insert" { // all tables have the first three
				return errKilled
			}
			return nil
		}
		if err := first.round(t.Context()); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}

		w = openWriter(t, dir) // a run without the option, which merges everything
		merge(t, w)
		dying := newSink(t, w, url)
		dying.crash = func(at string) error {
			if at == "remove" {
				return errKilled
			}
			return nil
		}
		if err := dying.round(t.Context()); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		s := newSink(t, w, url)
		round(t, s)
		sameRows(t, s)
		if st := s.Stats(); st.Replaced != 5 || st.Lost != 0 {
			t.Errorf("after a merge: stats %+v", st)
		}

		// A table that somebody emptied.
		appendRows(t, w, m, 10)
		commit(t, w)
		if err := s.conn.exec(t.Context(), "DROP TABLE "+s.schema.table(dataset.Visit)); err != nil {
			t.Fatal(err)
		}
		s = newSink(t, w, url)
		round(t, s)
		sameRows(t, s)
		if st := s.Stats(); st.Inserts != 4+2 {
			t.Errorf("after a drop: stats %+v", st)
		}

		// A lost state: everything is counted, and nothing inserted.
		s = newSink(t, w, url)
		s.state.restart()
		round(t, s)
		sameRows(t, s)
		if st := s.Stats(); st.Inserts != 0 || st.Replaced != 0 {
			t.Errorf("after the state was lost: stats %+v", st)
		}
		sameSeries(t, s)
	})
}

// What a purge removes from the datasets goes from the server too, rows and series, when the next
// consumer runs, wherever it dies, and also if the purge then runs again.
func TestPurgeReachesTheServer(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := openWriter(t, t.TempDir())
		m := newMaker()
		peers := []string{"16U0007", "16U0008"}
		appendRows(t, w, m, 100)
		commit(t, w)
		appendAlone(t, w, peers...) // a part that has nobody else's
		commit(t, w)
		appendRows(t, w, m, 10)
		appendAlone(t, w, peers...)
		commit(t, w)
		s := newSink(t, w, url)
		round(t, s)
		sameSeries(t, s)
		recount := func() {
			if err := Recount(w.Dir()); err != nil {
				t.Fatal(err)
			}
		}
		for i, peer := range peers {
			recount()
			removed, err := w.Purge(t.Context(), func(p string) bool { return p == peer })
			if err != nil || removed[dataset.Discovery] < 5 {
				t.Fatalf("removed %v, %v", removed, err)
			}
			if i == 0 {
				for _, step := range append([]string{"remove", "removed"}, steps...) {
					roundUntil(t, w, url, step, 0)
					roundUntil(t, w, url, step, 1)
				}
			} else {
				for roundUntil(t, w, url, "removed", 0) {
					recount()
				}
			}
			s = newSink(t, w, url)
			round(t, s)
			sameRows(t, s)
			sameSeriesWhere(t, s, "value != 0")
		}
		zeros := seriesRows(t, s, "SELECT DISTINCT name FROM "+s.schema.table(seriesView)+" WHERE value = 0 AND label IN ('', 'alone') ORDER BY name")
		if want := "[handshakes]\n[nodes]\n[records]\n[stake_eth]\n[validators]\n[visits]\n[watches]\n[with_validators]\n"; zeros != want {
			t.Errorf("series that are 0:\n%s", zeros)
		}
	})
}

// roundUntil is a round of a sink that dies when it has passed a step so often; false when it does not.
func roundUntil(t *testing.T, w *dataset.Writer, url, step string, passed int) bool {
	t.Helper()
	s := newSink(t, w, url)
	s.crash = func(at string) error {
		if at == step {
			if passed--; passed < 0 {
				return errKilled
			}
		}
		return nil
	}
	err := s.round(t.Context())
	if err != nil && !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	return err != nil
}

// appendAlone appends rows of each peer in an hour of its own, and with labels of their own in an
// hour of others.
func appendAlone(t *testing.T, w *dataset.Writer, ids ...string) {
	t.Helper()
	const at = 1763800000000
	for i := range 2 * len(ids) {
		id, timestamp := ids[i/2], at+int64(i%2)*(50+int64(i))*hourMS
		common := dataset.Common{Timestamp: timestamp}
		estimated := dataset.EstimateRow{ID: id, Client: "alone", ValidatorsMean: 7, PValidator: 1, MeanBalance: new(32.0), Common: common}
		estimated.Timestamp -= timestamp % hourMS
		for _, err := range []error{
			dataset.Append(w, dataset.DiscoveryRow{ID: id, Common: common}),
			dataset.Append(w, dataset.MetadataRow{ID: id, Common: common}),
			dataset.Append(w, dataset.VisitRow{ID: id, Outcome: "alone", Watch: &dataset.Watch{}, Common: common}),
			dataset.Append(w, estimated),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The rows keep the source that they were copied under, whatever the durable is later: nothing is
// inserted twice after a purge, nor at another address of the server. Tokens are not used again.
func TestSourceStays(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := openWriter(t, t.TempDir())
		appendRows(t, w, newMaker(), 20)
		commit(t, w)
		round(t, newSink(t, w, url))
		epochs := map[uint64]bool{}
		check := func(what, url string) {
			t.Helper()
			s, err := New(Config{URL: url}, w, "consumer-other", idOf(w), discardLog())
			if err != nil {
				t.Fatal(err)
			}
			defer s.conn.close()
			if epochs[s.state.Epoch] {
				t.Errorf("%s: epoch %d again", what, s.state.Epoch)
			}
			epochs[s.state.Epoch] = true
			round(t, s)
			sameRows(t, s)
			if st := s.Stats(); st.Inserts != 0 || st.Replaced != 0 {
				t.Errorf("%s: stats %+v", what, st)
			}
		}
		check("another durable", url)
		for range 2 {
			if err := Recount(w.Dir()); err != nil {
				t.Fatal(err)
			}
			check("a purge", url)
		}
		check("another address", strings.Replace(url, "127.0.0.1", "localhost", 1))
		check("the address of before", url)

		// As after a restore: the file has the source alone.
		writeState(t, w, `{"source": "consumer-test"}`)
		check("a source", url)

		// Without a file the directory's id tells the source; the tokens are new ones all the same.
		if err := os.Remove(filepath.Join(w.Dir(), stateFile)); err != nil {
			t.Fatal(err)
		}
		if err := Recount(w.Dir()); err != nil {
			t.Fatal(err)
		}
		check("a lost file", url)
	})
}

// Segments that cannot be copied are counted once, however often what follows them fails: those of
// parts that are gone or damaged, and of parts that the server has merged with others.
func TestLostSegmentsAreCountedOnce(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := openWriter(t, t.TempDir())
		m := newMaker()
		commitInOneSpan(t, w, m, 4)
		merge(t, w)
		round(t, newSink(t, w, url))

		other := openWriter(t, t.TempDir()) // the directory at an earlier time
		for range 3 {
			appendRows(t, other, m, 10)
			commit(t, other)
		}
		writeState(t, other, `{"source": "consumer-test"}`)
		lostAfterFailures(t, newSink(t, other, url), "merged", 3)

		writeState(t, w, `{"source": "consumer-test"}`)
		round(t, newSink(t, w, url))
		for range 3 {
			appendRows(t, w, m, 10)
			commit(t, w)
		}
		for _, table := range dataset.Tables() {
			parts, err := dataset.Parts(w.Dir(), table)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dataset.Dir(w.Dir(), table), parts[len(parts)-2].Name())); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(dataset.Dir(w.Dir(), table), parts[len(parts)-3].Name()), 100); err != nil {
				t.Fatal(err)
			}
		}
		lostAfterFailures(t, newSink(t, w, url), "gone and damaged", 2)
	})
}

// lostAfterFailures copies all, with errors on the way, and compares the segments lost per table.
func lostAfterFailures(t *testing.T, s *Sink, what string, want uint64) {
	t.Helper()
	failures := map[string]int{}
	s.crash = func(at string) error {
		if failures[at]++; failures[at] <= 3 {
			return errKilled
		}
		return nil
	}
	for n := 0; n < 2; s.schema = nil { // until two in turn succeed
		if err := s.round(t.Context()); err == nil {
			n++
		} else if n = 0; !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Lost != want*uint64(len(dataset.Tables())) || st.Behind != 0 {
		t.Errorf("%s: stats %+v, want %d lost of each table", what, st, want)
	}
}

// span is that whose parts merge merges into one: the second of the writer's two.
const span = 24 * 100 * time.Millisecond

// commitInOneSpan commits segments that merge will merge into one part.
func commitInOneSpan(t *testing.T, w *dataset.Writer, m maker, segments int) {
	t.Helper()
	if into := time.Duration(time.Now().UnixNano()) % span; into > span/4 {
		time.Sleep(span - into)
	}
	for range segments {
		appendRows(t, w, m, 10)
		commit(t, w)
	}
}

// merge merges all parts but the first, which is empty.
func merge(t *testing.T, w *dataset.Writer) {
	t.Helper()
	time.Sleep(span - time.Duration(time.Now().UnixNano())%span) // it has to end
	if _, err := w.Compact(t.Context(), span/24); err != nil {
		t.Fatal(err)
	}
	if parts, err := dataset.Parts(w.Dir(), dataset.Visit); err != nil || len(parts) > 2 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
}

// A server that is away holds up nothing: parts are merged meanwhile, and the copy catches up when
// it answers, as Run does by itself.
func TestCatchesUp(t *testing.T) {
	onServers(t, func(t *testing.T, server string) {
		away := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		defer away.Close()
		w := openWriter(t, t.TempDir())
		m := newMaker()
		s := newSink(t, w, away.URL)
		s.retryMin, s.poll = time.Millisecond, time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		commitInOneSpan(t, w, m, 6)
		until(t, "failures", func() bool { st := s.Stats(); return st.Failures > 2 && st.Err != nil && st.Behind == 7 })
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		merge(t, w)
		s = newSink(t, w, server)
		s.poll = time.Millisecond
		ctx, cancel = context.WithCancel(t.Context())
		go func() { done <- s.Run(ctx) }()
		until(t, "the copy", func() bool { st := s.Stats(); return st.Behind == 0 && !st.CaughtUp.IsZero() })
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if st := s.Stats(); st.Replaced != 0 || st.Lost != 0 || st.Rows != 300 || st.Inserts != 5 {
			t.Errorf("stats %+v", st)
		}
		sameRows(t, s)
	})
}

// The pause after an error is the shortest again once a part was copied, though others are left.
func TestPauseAfterProgress(t *testing.T) {
	onServers(t, func(t *testing.T, server string) {
		w := openWriter(t, t.TempDir())
		m := newMaker()
		for range 2 {
			appendRows(t, w, m, 10)
			commit(t, w)
		}
		s := newSink(t, w, server)
		var out strings.Builder
		s.log, s.limit = slog.New(slog.NewTextHandler(&out, nil)), loglimit.Every(0)
		s.retryMin, s.poll = time.Millisecond, time.Millisecond
		again := 2
		s.crash = func(at string) error { // two errors before each part
			if at == "recorded" {
				again = 2
			} else if at == "insert" && again > 0 {
				again--
				return errKilled
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		until(t, "the copy", func() bool { return !s.Stats().CaughtUp.IsZero() })
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		first, second := strings.Count(out.String(), "retry_in=1ms"), strings.Count(out.String(), "retry_in=2ms")
		if parts := 2 * len(dataset.Tables()); first != parts || second != parts || s.Stats().Failures != uint64(2*parts) {
			t.Errorf("%d pauses of 1 ms and %d of 2 ms, want %d each:\n%s", first, second, parts, out.String())
		}
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for: %s", what)
		}
	}
}

// sameSeries compares the materialised series with the rows on the server.
func sameSeries(t *testing.T, s *Sink) {
	t.Helper()
	sameSeriesWhere(t, s, "1")
}

// sameSeriesWhere is sameSeries for the lines of a condition.
func sameSeriesWhere(t *testing.T, s *Sink, condition string) {
	t.Helper()
	schema, err := newSchema(s.target, "26.9")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range allSeries() {
		where := "1"
		if one.where != "" {
			where = one.where
		}
		want := seriesRows(t, s, fmt.Sprintf("SELECT at, tag, value FROM (SELECT %s AS at, %s AS tag, %s AS value FROM %s WHERE %s GROUP BY at, tag) WHERE %s ORDER BY at, tag", one.at, one.label, one.value, schema.table(one.table), where, condition))
		got := seriesRows(t, s, fmt.Sprintf("SELECT timestamp, label, value FROM %s WHERE name = %s AND %s ORDER BY timestamp, label", schema.table(seriesView), quote(one.name), condition))
		if got != want || want == "" {
			t.Errorf("series %s:\n got %s\nwant %s", one.name, got, want)
		}
	}
}

func seriesRows(t *testing.T, s *Sink, query string) string {
	t.Helper()
	rows, err := s.conn.rows(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, row := range rows {
		fmt.Fprintln(&out, text(any(row), false))
	}
	return out.String()
}
