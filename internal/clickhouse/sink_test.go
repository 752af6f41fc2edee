package clickhouse

import (
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

func newSink(t testing.TB, w *dataset.Writer, url string) *Sink {
	t.Helper()
	s, err := New(Config{URL: url}, w, "consumer-test", idOf(w), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.close)
	return s
}

func round(t testing.TB, s *Sink) {
	t.Helper()
	if err := s.round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Every row of every table is on the server with every value, and a second round, also after a
// restart, inserts nothing.
func TestEveryValueArrives(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := openWriter(t, t.TempDir())
		m := newMaker()
		appendRows(t, w, m, 300)
		commit(t, w)
		appendRows(t, w, m, 20)
		commit(t, w)
		s := newSink(t, w, url)
		round(t, s)
		sameRows(t, s)
		if st := s.Stats(); st.Rows != 5*320 || st.Inserts != 10 || st.Behind != 0 || st.Lost != 0 || st.Replaced != 0 {
			t.Errorf("stats %+v", st)
		}
		again := newSink(t, w, url)
		round(t, again)
		if st := again.Stats(); st.Inserts != 0 {
			t.Errorf("a second sink: stats %+v", st)
		}
		commit(t, w)
		round(t, again)
		sameRows(t, again)
	})
}

// idOf is the id of a data directory, as its consumer_id is.
func idOf(w *dataset.Writer) string { return w.Dir() }
