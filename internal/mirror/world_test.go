package mirror

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/mirror/mirrortest"
)

func TestMain(m *testing.M) {
	if err := warmUp(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// warmUp makes the channels of the compression's encoders outside of any synctest bubble.
func warmUp() error {
	dir, err := os.MkdirTemp("", "valtrack-mirror")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w, err := dataset.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(dataset.Append(w, dataset.DiscoveryRow{ID: "16U"}), w.Commit(nil), w.Close())
}

// world is a data directory and its copy. Its time begins at epoch, and only life moves it.
type world struct {
	t      *testing.T
	server *mirrortest.Server
	cfg    Config
	now    time.Time
	shift  time.Duration // of the store's clock from ours
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // as synctest has it

func newWorld(t *testing.T) *world {
	t.Helper()
	server, err := mirrortest.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	w := &world{t: t, server: server, now: epoch}
	at, err := ParseLocation(server.URL() + "/group/a")
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Location: at, Credentials: credentials.NewStaticV4(mirrortest.Key, mirrortest.Secret, ""), Every: time.Hour, Network: "hoodi",
		Rejected: func() (dataset.Coverage, error) { return dataset.Coverage{}, nil }, Log: slog.New(slog.DiscardHandler),
	}
	return w
}

// shifted has the answers of a store whose clock agrees with the world's, but for its shift.
type shifted struct {
	http.RoundTripper
	w *world
}

func (s shifted) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Header.Set("Date", s.w.now.Add(s.w.shift).Format(http.TimeFormat))
	}
	return resp, err
}

// mirror is a new process's.
func (w *world) mirror() *Mirror {
	w.t.Helper()
	m, err := New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	m.now = func() time.Time { return w.now }
	m.store.clock.RoundTripper = shifted{m.store.clock.RoundTripper, w}
	m.swept = w.now
	return m
}

func (w *world) round() {
	w.t.Helper()
	if err := w.mirror().Round(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// life has the writer do something at a time after the epoch, which becomes the present.
func (w *world) life(at time.Duration, do func(*dataset.Writer) error) {
	w.t.Helper()
	w.t.Run("at "+at.String(), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(at)
			writer, err := dataset.Open(w.cfg.DataDir, slog.New(slog.DiscardHandler))
			if err == nil {
				err = errors.Join(do(writer), writer.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	})
	w.now = epoch.Add(at)
	for range 2 { // the decoders in the pool belong to the bubble
		runtime.GC()
	}
}

// commit stores n events, from counter first on, an hour apart for each segment of them.
func commit(first, n, segments int) func(*dataset.Writer) error {
	return func(w *dataset.Writer) error {
		for segment := range segments {
			from := first + segment*n
			for i := from; i < from+n; i++ {
				c := dataset.Common{Network: "hoodi", CrawlerID: "s", Timestamp: time.Now().UnixMilli()}
				peer := fmt.Sprintf("16U%03d", i*37%101)
				m := dataset.MetadataRow{ID: peer, VisitID: strconv.Itoa(i), HeadSlot: uint64(i), Common: c}
				err := errors.Join(dataset.Append(w, m), dataset.Append(w, dataset.ValidatorRowOf(&m)),
					dataset.Append(w, dataset.DiscoveryRow{ID: peer, Seq: uint64(i), Common: c}), dataset.Append(w, dataset.VisitRow{ID: peer, VisitID: strconv.Itoa(i), Common: c}))
				if err != nil {
					return err
				}
			}
			if err := w.Commit(dataset.Coverage{"s-1": {{uint64(from), uint64(from + n - 1)}}}); err != nil {
				return err
			}
			time.Sleep(time.Hour)
		}
		return nil
	}
}

func merge(w *dataset.Writer) error {
	_, err := w.Compact(context.Background(), day)
	return err
}

// figures are the number of a table's rows, and a sum over them.
type figures struct {
	Rows int
	Sum  uint64
}

// contents are the figures by table of a data directory that check finds nothing wrong with.
func contents(t *testing.T, dir string) map[string]figures {
	t.Helper()
	h, err := dataset.Check(t.Context(), dir, dataset.Coverage{})
	if err != nil {
		t.Fatal(err)
	}
	if !h.OK() || h.Missing()+h.MissingRows() > 0 {
		t.Fatalf("%s is not sound: %+v", dir, h)
	}
	out := map[string]figures{}
	for _, table := range dataset.Tables() {
		f := figures{}
		err := dataset.ScanTable(t.Context(), dir, table, dataset.Range{}, func(r dataset.Row) error {
			hash := fnv.New64a()
			fmt.Fprintf(hash, "%+v", r)
			f.Rows++
			f.Sum += hash.Sum64()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		out[table] = f
	}
	return out
}

// restored is a data directory made of the copy.
func (w *world) restored() string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "restored")
	if _, err := w.copy().Restore(w.t.Context(), dir, w.cfg.Log); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

func (w *world) copy() *Copy {
	w.t.Helper()
	c, err := OpenCopy(w.t.Context(), w.cfg.Location, w.cfg.Credentials)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// equal asserts that the copy, restored, has what a data directory had.
func (w *world) equal(want map[string]figures) {
	w.t.Helper()
	if diff := cmp.Diff(want, contents(w.t, w.restored())); diff != "" {
		w.t.Errorf("the copy is not what was stored (-want +got):\n%s", diff)
	}
}

// objects are the names of the objects in the store.
func (w *world) objects() (names []string) {
	w.t.Helper()
	s := w.mirror().store
	for o := range s.client.Client.ListObjects(w.t.Context(), s.at.bucket, minio.ListObjectsOptions{Prefix: s.at.prefix, Recursive: true}) {
		if o.Err != nil {
			w.t.Fatal(o.Err)
		}
		names = append(names, o.Key[len(s.at.prefix):])
	}
	return names
}
