package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

// changed are the changes of an answer, as text, and its cursor for later ones.
func (s *testServer) changed(query string) (rows []string, latest string, next *string) {
	s.t.Helper()
	body := s.object("/api/v1/changes"+query, true)
	for _, row := range body["data"].([]any) {
		r := row.(map[string]any)
		rows = append(rows, fmt.Sprint(r["seq"], " ", r["kind"], " ", r["id"], " ", r["at"], " ", r["from"], " ", r["to"], " ", r["replaces"], " ", r["found_at"]))
	}
	meta := body["meta"].(map[string]any)
	if text, ok := meta["next"].(string); ok {
		next = &text
	}
	return rows, meta["latest"].(string), next
}

// upgrade lets nodes run another release, and move.
func (c *testCrawl) upgrade(from, to int, at time.Time, release string) {
	c.t.Helper()
	for i := from; i < to; i++ {
		c.visit(i, at, fmt.Sprintf("45.9.%d.%d", len(release), i&255), "Lighthouse/"+release+"/x86_64-linux")
	}
	c.commit()
}

// kinds are the kinds of changes.
func kinds(rows []string) string {
	var out []string
	for _, row := range rows {
		out = append(out, strings.Fields(row)[1])
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// A restart changes no change and no number, and what happened before the first view after it is
// found once.
func TestChangesAreTheSameAfterARestart(t *testing.T) {
	c := newTestCrawl(t)
	now := time.Now()
	c.crawl(0, 30, now.Add(-50*time.Hour)) // a day before the others: they are changes
	c.crawl(0, 30, now.Add(-3*time.Hour))
	s := serverOf(t, c, c.sources(), Config{})
	c.crawl(30, 33, now.Add(-2*time.Hour))
	s.views.update()
	c.upgrade(0, 3, now.Add(-time.Hour), "v9.0.0")
	s.views.update()
	before, latest, _ := s.changed("?since=1" + fmt.Sprint(now.Add(-29 * 24 * time.Hour).UnixMilli())[1:])
	if got := kinds(before); !strings.Contains(got, "appeared") || !strings.Contains(got, "moved moved moved") || !strings.Contains(got, "upgraded") {
		t.Fatalf("%q", before)
	}
	for name, prepare := range map[string]func(){
		"as it is": func() {},
		"killed while it wrote": func() {
			f, err := os.OpenFile(filepath.Join(c.dir, ChangesFile), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(f, `{"change":{"kind":"mov`)
			f.Close()
		},
		"written whole": func() { s.views.file.rewrite(s.views.changes, nil, s.views.current.Load()) },
	} {
		prepare()
		again := serverOf(t, c, c.sources(), Config{})
		rows, cursor, _ := again.changed("?since=1" + fmt.Sprint(now.Add(-29 * 24 * time.Hour).UnixMilli())[1:])
		if !slices.Equal(rows, before) || cursor != latest {
			t.Errorf("%s:\n%q\n%q, want\n%q\n%q", name, rows, cursor, before, latest)
		}
	}
	c.upgrade(3, 5, now.Add(-time.Minute), "v9.1.0") // while nobody looks
	again := serverOf(t, c, c.sources(), Config{})
	rows, cursor, _ := again.changed("?after=" + latest)
	if got := kinds(rows); got != "moved moved upgraded upgraded" {
		t.Errorf("after the restart: %q", rows)
	}
	if rows, _, _ = again.changed("?after=" + cursor); len(rows) != 0 {
		t.Errorf("again: %q", rows)
	}
	if err := os.WriteFile(filepath.Join(c.dir, ChangesFile), []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	again = serverOf(t, c, c.sources(), Config{})
	if rec := again.get("/api/v1/changes?after="+latest, false); rec.Code != http.StatusGone || !strings.Contains(rec.Body.String(), "since=") {
		t.Errorf("a cursor of another log: %d %s", rec.Code, rec.Body)
	}
}

// An append that ends at any byte is there as a whole or not at all: the log and its numbers stay.
func TestTornAppend(t *testing.T) {
	c := newTestCrawl(t)
	now := time.Now()
	c.crawl(0, 30, now.Add(-50*time.Hour))
	s := serverOf(t, c, c.sources(), Config{})
	path := filepath.Join(c.dir, ChangesFile)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	was, _ := s.views.changes.from(0)
	c.upgrade(0, 20, now.Add(-time.Hour), "v9.0.0")
	s.views.update()
	whole, err := os.ReadFile(path)
	is, _ := s.views.changes.from(0)
	if err != nil || len(is) == len(was) || len(whole) < len(before)+5000 {
		t.Fatal(err, len(is), len(whole)-len(before))
	}
	if err := os.Truncate(path, int64(len(before))); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const ends, step = 400, 7 // every byte of the beginning and the end, and a sample between
	for size := len(before); size <= len(whole); {
		next := size + step
		if size-len(before) < ends || len(whole)-next < ends {
			next = size + 1
		}
		want := was
		if size == len(whole) {
			want = is
		}
		l, _, err := readChanges(path)
		if err != nil || l.id != s.views.changes.id || len(l.all) != len(want) || l.last() != int64(len(want)) {
			t.Fatalf("%d of %d bytes: %v, %+v", size-len(before), len(whole)-len(before), err, l)
		}
		if _, err := f.Write(whole[size:min(next, len(whole))]); err != nil {
			t.Fatal(err)
		}
		size = next
	}
	if err := os.WriteFile(path, whole[:len(whole)-10], 0o600); err != nil {
		t.Fatal(err)
	}
	again := serverOf(t, c, c.sources(), Config{})
	if found, _ := again.views.changes.from(0); len(found) != len(is) || again.views.changes.id != s.views.changes.id {
		t.Errorf("after a restart: %d changes, want %d", len(found), len(is))
	}
}

// A node of the crawl's first day appears in no list, whenever the server was restarted or killed.
func TestNodesOfTheFirstDayDoNotAppear(t *testing.T) {
	for _, killed := range []bool{false, true} {
		c := newTestCrawl(t)
		now := time.Now()
		c.crawl(0, 10, now.Add(-30*time.Hour))
		s := serverOf(t, c, c.sources(), Config{})
		c.crawl(10, 20, now.Add(-28*time.Hour))
		s.views.update()
		if !killed {
			ended, end := context.WithCancel(t.Context())
			end()
			s.views.run(ended)
		}
		c.crawl(0, 20, now.Add(-time.Hour)) // while no server runs
		again := serverOf(t, c, c.sources(), Config{})
		if rows, _, _ := again.changed("?since=" + fmt.Sprint(now.Add(-29*24*time.Hour).UnixMilli()) + "&kind=appeared"); len(rows) != 0 {
			t.Errorf("killed %t: %q", killed, rows)
		}
	}
}

// What was found while the file was another process's is written with what is found later.
func TestSkippedChangesAreWrittenLater(t *testing.T) {
	c := newTestCrawl(t)
	now := time.Now()
	c.crawl(0, 30, now.Add(-50*time.Hour))
	src, own := c.sources(), true
	src.Own = func() bool { return own }
	s := serverOf(t, c, src, Config{})
	for i, mine := range []bool{true, false, true} {
		own = mine
		c.upgrade(3*i, 3*i+3, now.Add(-time.Hour), fmt.Sprint("v9.0.", i))
		s.views.update()
	}
	want, _ := s.views.changes.from(0)
	l, _, err := readChanges(filepath.Join(c.dir, ChangesFile))
	if err != nil || len(l.all) != len(want) || l.last() != s.views.changes.last() {
		t.Errorf("%v: not the %d changes of the log", err, len(want))
	}
}

// Who asks with the last cursor, or with the time of the last answer, misses nothing, also of what
// happened long ago and came late; and pages have each change once.
func TestLateChangesAreFound(t *testing.T) {
	c := newTestCrawl(t)
	now := time.Now()
	c.crawl(0, 30, now.Add(-50*time.Hour))
	s := serverOf(t, c, c.sources(), Config{})
	_, cursor, _ := s.changed("")
	asked := time.Now().UnixMilli()
	c.upgrade(0, 20, now.Add(-20*time.Hour), "v9.0.0") // events of an hour that a cursor by time has passed
	s.views.update()
	want := 40
	rows, _, _ := s.changed("?after=" + cursor)
	since, _, _ := s.changed(fmt.Sprint("?since=", asked))
	if len(rows) < want-6 || len(since) != len(rows) {
		t.Fatalf("%d after the cursor, %d since the answer", len(rows), len(since))
	}
	slices.Reverse(since)
	if !slices.Equal(rows, since) {
		t.Error("they differ")
	}
	var paged []string
	for query, n := "?limit=7&after="+cursor, 0; n < 20; n++ {
		page, latest, next := s.changed(query)
		paged = append(paged, page...)
		if query = "?limit=7&after=" + latest; n == 2 {
			c.upgrade(21, 22, now, "v9.9.0") // while somebody pages
			s.views.update()
		}
		if next == nil {
			break
		}
	}
	if len(paged) != len(rows)+2 || !slices.Equal(paged[:len(rows)], rows) {
		t.Errorf("%d in pages, want %d and what is new", len(paged), len(rows))
	}
	all, _, _ := s.changed("?limit=1000")
	var back []string
	for query, n := "?limit=9", 0; n < 20; n++ {
		page, _, next := s.changed(query)
		back = append(back, page...)
		if next == nil {
			break
		}
		query = "?limit=9&cursor=" + *next
	}
	if !slices.Equal(back, all) {
		t.Errorf("%d in pages, %d at once", len(back), len(all))
	}
	for _, q := range []string{"after=x", "after=" + strings.Repeat("0", 8) + "-1", "after=-1", "cursor=" + cursor[:8] + "-99999", "limit=0", "limit=1001", "after=" + cursor + "x"} {
		if rec := s.get("/api/v1/changes?"+q, false); rec.Code != http.StatusBadRequest && rec.Code != http.StatusGone {
			t.Errorf("%s: %d", q, rec.Code)
		}
	}
}

// All changes as rows are an export, which takes a slot; none of them are cached: the window moves
// with the time.
func TestChangesAsRows(t *testing.T) {
	s := newTestServer(t, 20)
	for _, format := range []string{formatNDJSON, formatCSV} {
		path := "/api/v1/changes?format=" + format
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for _, limit := range []string{"", "&limit=5"} {
				rec := s.ask(method, path+limit, http.Header{})
				if rec.Code != http.StatusOK || rec.Header().Get("ETag") != "" || rec.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s%s: %d %v", method, path, limit, rec.Code, rec.Header())
				}
			}
		}
		var held []func()
		for range eachExports {
			release, p := s.limits.exports.acquire(t.Context(), client{addr: netip.MustParseAddr("192.0.2.1")}) // of httptest's requests
			if p != nil {
				t.Fatal("slots are in use")
			}
			held = append(held, release)
		}
		if rec := s.get(path, false); rec.Code != http.StatusTooManyRequests {
			t.Errorf("%s without a slot: %d", path, rec.Code)
		}
		if rec := s.get(path+"&limit=5", false); rec.Code != http.StatusOK {
			t.Errorf("%s, five of them, without a slot: %d", path, rec.Code)
		}
		for _, release := range held {
			release()
		}
	}
}

// A node that comes to the address of another one replaces it, in the view in which it appears.
func TestReplacedNode(t *testing.T) {
	c := newTestCrawl(t)
	now := time.Now()
	c.crawl(0, 10, now.Add(-50*time.Hour))
	c.crawl(0, 10, now.Add(-2*time.Hour))
	s := serverOf(t, c, c.sources(), Config{})
	_, cursor, _ := s.changed("")
	c.visit(60, now, "45.1.0.2", testAgents[2]) // that of node 2, under a new key
	c.commit()
	s.views.update()
	rows, _, _ := s.changed("?after=" + cursor)
	if len(rows) != 1 || !strings.Contains(rows[0], "appeared "+testPeer(60)) || !strings.Contains(rows[0], testPeer(2)) {
		t.Errorf("%q", rows)
	}
}

// A client that was cut off is sent what it missed, once, also by another process.
func TestResumedStream(t *testing.T) {
	c := newTestCrawl(t)
	now := time.Now()
	c.crawl(0, 30, now.Add(-50*time.Hour))
	s := serverOf(t, c, c.sources(), Config{})
	_, cursor, _ := s.changed("")
	c.upgrade(0, 3, now.Add(-time.Hour), "v9.0.0")
	s.views.update()
	want, latest, _ := s.changed("?after=" + cursor)
	s = serverOf(t, c, c.sources(), Config{})
	for id, expect := range map[string]struct {
		changes int
		reset   bool
	}{"": {0, false}, cursor: {len(want), false}, latest: {0, false}, "x": {0, true}, "00000000-7": {0, true}} {
		changes, reset, last := s.stream(id)
		if changes != expect.changes || reset != expect.reset || last != latest {
			t.Errorf("after %q: %d changes, reset %t, last %s; want %+v, %s", id, changes, reset, last, expect, latest)
		}
	}
}

// stream reads the beginning of a stream: changes, whether it was reset, and the last id.
func (s *testServer) stream(lastID string) (changes int, reset bool, last string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	r, w := newPipeRequest(ctx, lastID)
	go func() {
		defer w.close()
		s.handler.ServeHTTP(w, r)
	}()
	time.AfterFunc(200*time.Millisecond, cancel)
	lines := bufio.NewScanner(w.reader)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		switch text := lines.Text(); {
		case text == "event: change":
			changes++
		case text == "event: reset":
			reset = true
		case strings.HasPrefix(text, "id: "):
			last = text[4:]
		}
	}
	return changes, reset, last
}

// A purge leaves nothing of a node in the file, and all else.
func TestPurgeChanges(t *testing.T) {
	c := newTestCrawl(t)
	now := time.Now()
	c.crawl(0, 30, now.Add(-50*time.Hour))
	s := serverOf(t, c, c.sources(), Config{})
	c.upgrade(0, 5, now.Add(-time.Hour), "v9.0.0")
	s.views.update()
	all, latest, _ := s.changed("")
	log := slog.New(slog.DiscardHandler)
	if n, err := CountChanges(c.dir, func(id string) bool { return id == testPeer(2) }); n != 2 || err != nil {
		t.Errorf("%d would be removed: %v", n, err)
	}
	removed, err := PurgeChanges(c.dir, func(id string) bool { return id == testPeer(2) }, log)
	if err != nil || removed != 2 {
		t.Fatal(removed, err)
	}
	data, err := os.ReadFile(filepath.Join(c.dir, ChangesFile))
	if err != nil || strings.Contains(string(data), testPeer(2)) {
		t.Errorf("%v: it is still there", err)
	}
	l, base, err := readChanges(filepath.Join(c.dir, ChangesFile))
	if err != nil || len(l.all) != len(all)-2 || len(base.nodes) != 29 || l.all[len(l.all)-1].Seq != int64(len(all)-2) || strings.HasPrefix(latest, l.id) {
		t.Errorf("%v: %d changes of %d", err, len(l.all), len(all))
	}
	if n, err := PurgeChanges(t.TempDir(), func(string) bool { return true }, log); n != 0 || err != nil {
		t.Errorf("no file: %d %v", n, err)
	}
}

// A purge removes the file of changes when it is damaged, and says so; one that cannot be read stays. Of
// an append that was not completed nothing is left.
func TestPurgeOfDamagedChanges(t *testing.T) {
	const header = `{"header":{"log":"00000000","next":1,"as_of":5}}` + "\n"
	none := func(string) bool { return false }
	for text, damaged := range map[string]bool{header: false, header + "nonsense\n": true, header + `{"change":{"kind":"moved","id":"a","seq":1}}` + "\n": false, header + `{"chan`: false} {
		dir, log := t.TempDir(), &lines{}
		path := filepath.Join(dir, ChangesFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := CountChanges(dir, none); errors.Is(err, dataset.ErrDamaged) != damaged {
			t.Errorf("%q: %v", text, err)
		}
		n, err := PurgeChanges(dir, none, slog.New(slog.NewTextHandler(log, nil)))
		left, _ := os.ReadFile(path)
		if n != 0 || err != nil || log.has("level=WARN", path, "line 2") != damaged || damaged != (len(left) == 0) || strings.Contains(string(left), "chan") {
			t.Errorf("%q: %v, %q is left", text, err, left)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ChangesFile), 0o700); err != nil { // which cannot be read
		t.Fatal(err)
	}
	if _, err := PurgeChanges(dir, none, slog.New(slog.DiscardHandler)); err == nil || errors.Is(err, dataset.ErrDamaged) {
		t.Errorf("a file that cannot be read: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ChangesFile)); err != nil {
		t.Error(err)
	}
}

func FuzzChangesFile(f *testing.F) {
	f.Add(`{"header":{"log":"00000000","next":2,"as_of":5}}` + "\n" + `{"node":{"id":"a","last":3}}` + "\n" + `{"change":{"kind":"moved","id":"a","seq":1}}` + "\n")
	f.Add(`{"header":{"log":"00000000","next":2}}` + "\n" + "{}")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, ChangesFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, base, err := readChanges(path)
		if err != nil {
			return
		}
		if n := int64(len(l.all)); base == nil || n > 0 && l.all[n-1].Seq != l.end-1 || l.end < 1 {
			t.Fatalf("%d changes, the next is %d", n, l.end)
		}
	})
}
