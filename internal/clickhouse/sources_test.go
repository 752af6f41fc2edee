package clickhouse

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

func writeState(t *testing.T, w *dataset.Writer, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.Dir(), stateFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newDirectory is a data directory with so many segments.
func newDirectory(t *testing.T, segments int) *dataset.Writer {
	t.Helper()
	w := openWriter(t, t.TempDir())
	for range segments {
		appendRows(t, w, newMaker(), 10)
		commit(t, w)
	}
	return w
}

// sinkOf is the next process's, of a durable.
func sinkOf(t *testing.T, w *dataset.Writer, url, durable string) *Sink {
	t.Helper()
	s, err := New(Config{URL: url}, w, durable, idOf(w), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.close)
	return s
}

func refused(t *testing.T, s *Sink, want string) {
	t.Helper()
	err := s.round(t.Context())
	if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `write {"source": `) {
		t.Errorf("error %v, want one that says %q and what to do", err, want)
	}
	s.schema = nil
}

// A source is that of one data directory: another one of the same name is refused, with rows or
// without, until somebody says that it continues it; then the one before is refused.
func TestOneDirectoryPerSource(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		first := newDirectory(t, 2)
		running := sinkOf(t, first, url, "consumer-a")
		round(t, running)
		for _, segments := range []int{0, 3} {
			second := sinkOf(t, newDirectory(t, segments), url, "consumer-a")
			refused(t, second, "is the copy of another data directory")
			refused(t, second, "is the copy of another data directory")
		}
		sameRows(t, running)
		round(t, sinkOf(t, first, url, "consumer-a"))

		// With a name of its own it begins, since it never had another one there.
		other := newDirectory(t, 0)
		refused(t, sinkOf(t, other, url, "consumer-a"), "is the copy of another data directory")
		appendRows(t, other, newMaker(), 10)
		commit(t, other)
		round(t, sinkOf(t, other, url, "consumer-b"))

		// As after a restore.
		next := newDirectory(t, 1)
		writeState(t, next, `{"source": "consumer-a"}`)
		round(t, sinkOf(t, next, url, "consumer-a"))
		round(t, sinkOf(t, next, url, "consumer-a"))
		appendRows(t, first, newMaker(), 10)
		commit(t, first)
		refused(t, running, "is the copy of another data directory") // which was connected all the time
		refused(t, sinkOf(t, first, url, "consumer-a"), "is the copy of another data directory")
	})
}

// A data directory that was copied with all its files is the same one to the server until both
// have gone on.
func TestCopiedDirectoryIsRefused(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := newDirectory(t, 1)
		round(t, sinkOf(t, w, url, "consumer-a"))
		before, err := os.ReadFile(filepath.Join(w.Dir(), stateFile))
		if err != nil {
			t.Fatal(err)
		}
		round(t, sinkOf(t, w, url, "consumer-a"))
		writeState(t, w, string(before))
		refused(t, sinkOf(t, w, url, "consumer-a"), "was continued by another copy of this data directory")
	})
}

// A lost clickhouse.json copies nothing twice: the directory's id tells its source, whatever the
// durable is; where the id is lost too, it is refused, unless nothing can be there yet.
func TestLostStateCopiesNothingTwice(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := newDirectory(t, 2)
		round(t, sinkOf(t, w, url, "consumer-a"))
		lose := func() {
			t.Helper()
			if err := os.Remove(filepath.Join(w.Dir(), stateFile)); err != nil {
				t.Fatal(err)
			}
		}
		lose()
		s := sinkOf(t, w, url, "consumer-b")
		round(t, s)
		if st := s.Stats(); st.Inserts != 0 || s.state.Source != "consumer-a" {
			t.Errorf("source %s, stats %+v", s.state.Source, st)
		}

		lose()
		again := func(durable string) *Sink {
			t.Helper()
			s, err := New(Config{URL: url}, w, durable, "another id", discardLog())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.conn.close)
			return s
		}
		refused(t, again("consumer-a"), "is the copy of another data directory")
		refused(t, again("consumer-b"), `it has rows of ["consumer-a"], and it is not known whether these are of this data directory`)
		sameRows(t, s)
		writeState(t, w, `{"source": "consumer-a"}`)
		round(t, again("consumer-b"))
		sameRows(t, s)
	})
}

// Copies of earlier versions have no claims: who has their state goes on, and who has not is refused.
func TestSourcesOfEarlierVersions(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := newDirectory(t, 1)
		s := sinkOf(t, w, url, "consumer-a")
		round(t, s)
		if err := s.conn.exec(t.Context(), "DROP TABLE "+s.schema.table(sourcesTable)); err != nil {
			t.Fatal(err)
		}
		refused(t, sinkOf(t, newDirectory(t, 0), url, "consumer-a"), `it has rows of ["consumer-a"]`)
		refused(t, sinkOf(t, newDirectory(t, 1), url, "consumer-b"), `it has rows of ["consumer-a"]`)
		fresh := newDirectory(t, 0)
		round(t, sinkOf(t, fresh, url, "consumer-b"))
		s.state.Directory, s.state.Claim = "", 0
		if err := s.state.write(w.Dir()); err != nil {
			t.Fatal(err)
		}
		s = sinkOf(t, w, url, "consumer-a")
		round(t, s)
		if st := s.Stats(); st.Inserts != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// How far the copy is behind is known while the server is silent: it takes the connection, and
// does not answer.
func TestBehindASilentServer(t *testing.T) {
	asked, stop := make(chan struct{}, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-stop
	}))
	defer server.Close()
	defer close(stop)
	w := newDirectory(t, 1)
	s := newSink(t, w, server.URL)
	stopped := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { stopped <- s.Run(ctx) }()
	<-asked
	for want := uint64(2); want < 5; want++ { // the first segment has no rows
		if st := s.Stats(); st.Behind != want {
			t.Errorf("%d segments behind, want %d", st.Behind, want)
		}
		appendRows(t, w, newMaker(), 1)
		commit(t, w)
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
