package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dashboard"
)

// testAPI answers every path with its number of the update.
type testAPI struct {
	update atomic.Int64
	public atomic.Bool
	broken atomic.Bool // after the summary
}

func newTestAPI() *testAPI {
	a := &testAPI{}
	a.public.Store(true)
	return a
}

func (a *testAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case a.broken.Load() && r.URL.Path != "/api/v1/summary":
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"detail":"nothing is estimated yet"}`)
	case r.URL.Query().Get("format") == "ndjson":
		fmt.Fprintf(w, "{\"update\":%d}\n{\"update\":%d}\n", a.update.Load(), a.update.Load())
	default:
		fmt.Fprintf(w, `{"data":{"update":%d},"meta":{"public":%v}}`, a.update.Load(), a.public.Load())
	}
}

func write(t *testing.T, dir string, a *testAPI) {
	t.Helper()
	if _, err := Write(t.Context(), dir, Handler(a), time.Hour); err != nil {
		t.Fatal(err)
	}
}

// readSite reads what a reader loads: the files that the manifest names.
func readSite(dir string) (updates map[string]bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	if m.Program == "" {
		return nil, errors.New("site.json does not say which program made it")
	}
	updates = map[string]bool{}
	for _, f := range files(time.Now()) {
		content, err := os.ReadFile(filepath.Join(dir, dataDir, m.Version, f.name))
		if err != nil {
			return nil, err
		}
		var answer struct {
			Data json.RawMessage
			Meta struct{ Public bool }
		}
		if err := json.Unmarshal(content, &answer); err != nil || !answer.Meta.Public {
			return nil, fmt.Errorf("%s: %s (%w)", f.name, content, err)
		}
		row, _, _ := strings.Cut(strings.TrimLeft(string(answer.Data), "[{"), "}")
		updates[row] = true
	}
	return updates, nil
}

// TestReadersSeeWholeUpdates: while the site is updated, what a reader loads is of one update,
// also when that takes a reader until the next one is there.
func TestReadersSeeWholeUpdates(t *testing.T) {
	dir, a := filepath.Join(t.TempDir(), "site"), newTestAPI()
	a.update.Store(100)
	write(t, dir, a)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for reads := 0; ; reads++ {
				select {
				case <-stop:
					return
				default:
				}
				if updates, err := readSite(dir); err != nil || len(updates) != 1 {
					// A reader that is slower than two updates finds its files gone, and loads
					// the manifest again, as the page does.
					if errors.Is(err, os.ErrNotExist) {
						continue
					}
					t.Errorf("read %d: %v, %v", reads, updates, err)
					return
				}
			}
		})
	}
	for update := 101; update < 120; update++ {
		a.update.Store(int64(update))
		write(t, dir, a)
	}
	close(stop)
	readers.Wait()
	if updates, err := os.ReadDir(filepath.Join(dir, dataDir)); err != nil || len(updates) != 2 {
		t.Errorf("%d updates are kept, want this one and the one before (%v)", len(updates), err)
	}
}

// TestErrorLeavesTheSite: what cannot be updated stays as it was, and half an update is removed.
func TestErrorLeavesTheSite(t *testing.T) {
	dir, a := filepath.Join(t.TempDir(), "site"), newTestAPI()
	write(t, dir, a)
	before, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		t.Fatal(err)
	}
	a.broken.Store(true)
	if _, err := Write(t.Context(), dir, Handler(a), 0); err == nil || !strings.Contains(err.Error(), "nothing is estimated yet") {
		t.Errorf("error %v", err)
	}
	a.broken.Store(false)
	a.public.Store(false)
	if _, err := Write(t.Context(), dir, Handler(a), 0); err == nil || !strings.Contains(err.Error(), "view of a key") {
		t.Errorf("the view of a key: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil || string(after) != string(before) {
		t.Errorf("the manifest is %s, was %s (%v)", after, before, err)
	}
	if updates, err := os.ReadDir(filepath.Join(dir, dataDir)); err != nil || len(updates) != 1 {
		t.Errorf("%d updates (%v)", len(updates), err)
	}
}

// TestNoErrorLeavesAnUpdate: whichever file cannot be replaced, the answers of the update are removed.
func TestNoErrorLeavesAnUpdate(t *testing.T) {
	for _, name := range []string{indexFile, stableDir + "/" + snapshotFile, stableDir + "/" + seriesFile, manifestFile} {
		dir, a := filepath.Join(t.TempDir(), "site"), newTestAPI()
		write(t, dir, a)
		before, err := readManifest(dir)
		if err != nil {
			t.Fatal(err)
		}
		a.update.Add(1)
		if name == indexFile { // which is the same in each update
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Join(dir, name+".tmp", "in the way"), dirMode); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(t.Context(), dir, Handler(a), 0); err == nil {
			t.Errorf("%s: no error", name)
		}
		updates, err := os.ReadDir(filepath.Join(dir, dataDir))
		if err != nil || len(updates) != 1 || updates[0].Name() != before.Version {
			t.Errorf("%s: updates %v (%v)", name, updates, err)
		}
	}
}

// TestClocksMayDiffer: the API refuses changes of more than 30 days ago by its own clock.
func TestClocksMayDiffer(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, 50 * time.Minute} {
		a := newTestAPI()
		api := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			since, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
			if err == nil && since < time.Now().Add(ahead-30*24*time.Hour).UnixMilli() {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			a.ServeHTTP(w, r)
		}))
		if _, err := Write(t.Context(), t.TempDir(), api, 0); err != nil {
			t.Errorf("clock of the API %s ahead: %v", ahead, err)
		}
	}
}

// TestAForeignDirectoryIsRefused: nobody's files are replaced.
func TestAForeignDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "index.html")
	if err := os.WriteFile(page, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), dir, Handler(newTestAPI()), 0); !errors.Is(err, ErrForeign) {
		t.Errorf("error %v", err)
	}
	if text, err := os.ReadFile(page); err != nil || string(text) != "mine" {
		t.Errorf("%q (%v)", text, err)
	}
}

// TestStaticPage: the page says that it is static, carries its policy, and has no address from
// the root, so that it works below a path.
func TestStaticPage(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, newTestAPI())
	text, err := os.ReadFile(filepath.Join(dir, indexFile))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, want := range []string{`<meta name="valtrack-site" content="site.json" />`, `http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self'`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, bad := range []string{`src="/`, `href="/`, "frame-ancestors"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	for _, f := range dashboard.Files() {
		if _, err := os.Stat(filepath.Join(dir, f.Name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"api/v1/snapshot.json.gz", "api/v1/timeseries.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestCutOff: a handler that cuts an answer off makes an error.
func TestCutOff(t *testing.T) {
	api := Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half")
		panic(http.ErrAbortHandler)
	}))
	if _, err := api.get(t.Context(), "api/v1/summary"); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("error %v", err)
	}
}
