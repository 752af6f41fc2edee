package soak

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/tracker" // with the driver "sqlite"
	"github.com/chainbound/valtrack/test/trend"
)

// measure is something that must not grow.
type measure struct {
	name    string
	divisor float64 // of bytes, for the unit
	// allowed is the growth per hour that is not worth a failure; least that within the
	// measured time, since a short run has not quite settled.
	allowed, least float64
	// settled is how long after the start of a process what is measured does not count yet.
	settled time.Duration
	points  []trend.Point
}

const mib, kib = 1 << 20, 1 << 10

// consumerWarmUp is how long the heap of a consumer grows after each start: it has then
// estimated, merged and removed parts some times.
const consumerWarmUp = 5 * time.Minute

// residentWarmUp is how long its resident memory grows, while the heap stays: the runtime keeps what
// the largest merges, estimates and garbage collections so far have needed.
const residentWarmUp = 40 * time.Minute

// samplesEvery is after how many samples those so far are written.
const samplesEvery = 30

// measures of the resources of each program, and of all files.
func newMeasures(s schedule) (list []*measure) {
	add := func(name string, divisor, allowed, least float64) {
		list = append(list, &measure{name: name, divisor: divisor, allowed: allowed, least: least, settled: s.settled})
	}
	for _, m := range []string{"sentry", "consumer", "broker"} {
		add(m+" heap after GC, MiB", mib, 1, 1.5)
		add(m+" resident, MiB", mib, 4, 10)
		add(m+" goroutines", 1, 4, 15)
		add(m+" descriptors", 1, 4, 15)
	}
	for _, m := range list {
		switch {
		case strings.HasPrefix(m.name, "broker"):
			m.settled = s.kill / 2 // it does not live long
		case m.name == "consumer resident, MiB":
			m.settled = min(residentWarmUp, s.run/4)
		case strings.HasPrefix(m.name, "consumer"):
			m.settled = min(consumerWarmUp, 2*s.kill)
		}
	}
	// Over the lives of a process: what a new one starts with grows with what is stored.
	add("consumer heap over all lives, MiB", mib, 1, 2)
	add("broker heap over all lives, MiB", mib, 1, 3)
	// The spool is one segment that fills up. The databases' write-ahead logs fill up before
	// they are used again.
	add("sentry spool, MiB", mib, 0.5, 10)
	add("sentry other files, MiB", mib, 1, 10)
	add("sentry files", 1, 4, 10)
	add("consumer datasets, MiB", mib, 1, 3)
	add("consumer dataset files", 1, 20, 60)
	// The parts that merges replaced are kept for ten minutes, but not through a start.
	add("consumer replaced parts", 1, 20, 60)
	list[len(list)-1].settled = 12 * time.Minute
	// The database keeps the totals of all hours, of which a network of slots of 0.1 s has 96 an
	// hour: it grows by them, and only what each of them takes must not.
	add("consumer tracker.db without totals, per peer, KiB", kib, 1, 5)
	add("consumer hour of totals, KiB", kib, 0.1, 0.5)
	add("consumer other files, MiB", mib, 0.25, 5)
	add("broker store, MiB", mib, 2, 6)
	add("broker files", 1, 4, 10)
	add("log files, MiB", mib, 0.5, 0.25)
	add("temporary files", 1, 1, 3)
	return list
}

// recorder takes samples.
type recorder struct {
	w         *world
	began     time.Time
	client    *http.Client
	measures  []*measure
	seen      map[*member]time.Time // when it last answered
	peers     float64               // that the consumer knows
	profiled  map[string]bool
	loads     []float64 // of the machine
	directory string    // for profiles, "" for none
}

func newRecorder(t *testing.T, w *world, s schedule) *recorder {
	t.Helper()
	r := &recorder{w: w, began: time.Now(), client: &http.Client{Timeout: time.Minute}, measures: newMeasures(s),
		seen: map[*member]time.Time{}, profiled: map[string]bool{}, directory: os.Getenv(profilesVariable)}
	t.Cleanup(r.client.CloseIdleConnections)
	if r.directory != "" {
		if err := os.MkdirAll(r.directory, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *recorder) add(name string, life int, value float64) {
	i := slices.IndexFunc(r.measures, func(m *measure) bool { return m.name == name })
	m := r.measures[i]
	m.points = append(m.points, trend.Point{At: time.Since(r.began), Life: life, Value: value / m.divisor})
}

// sample measures everything once. A program that has just started may not answer yet.
func (r *recorder) sample(t *testing.T) {
	t.Helper()
	for _, m := range r.w.members() {
		if m.p == nil {
			continue
		}
		if err := r.sampleProcess(m); err == nil {
			r.seen[m] = time.Now()
		} else if last := r.seen[m]; time.Since(m.born) > startPatience && time.Since(last) > startPatience {
			t.Fatalf("%s does not answer: %v", m.name, err)
		}
	}
	if err := r.sampleFiles(); err != nil {
		t.Fatal(err)
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	one, _, _ := strings.Cut(string(load), " ")
	value, err := strconv.ParseFloat(one, 64)
	if err != nil {
		t.Fatal(err)
	}
	if r.loads = append(r.loads, value); r.directory != "" && len(r.loads)%samplesEvery == 0 {
		r.writeSamples(t)
	}
}

// tables logs what each table of tracker.db takes, once per moment.
func (r *recorder) tables(t *testing.T, moment string) {
	t.Helper()
	if r.profiled["tables "+moment] {
		return
	}
	text, err := tableSizes(filepath.Join(r.w.data(r.w.consumer), tracker.File))
	if err != nil {
		return // it is just being made
	}
	r.profiled["tables "+moment] = true
	t.Logf("tracker.db, %s: %s", moment, text)
}

func tableSizes(path string) (text string, err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return "", err
	}
	defer db.Close()
	err = db.QueryRow(`SELECT group_concat(printf('%s %d KiB (%d KiB of content)', name, size, content), ', ') FROM
		(SELECT name, sum(pgsize)/1024 AS size, sum(payload)/1024 AS content FROM dbstat GROUP BY name ORDER BY size DESC)`).Scan(&text)
	if err != nil {
		return "", err
	}
	var days, totals, hours int
	err = db.QueryRow(`SELECT (SELECT sum(length(days))/1024 FROM peers), (SELECT sum(length(data)) FROM totals), (SELECT count(*) FROM totals)`).Scan(&days, &totals, &hours)
	return fmt.Sprintf("%s; statistics of days %d KiB; totals of %d hours %d bytes", text, days, hours, totals), err
}

func (r *recorder) sampleProcess(m *member) error {
	heap, err := r.number(m, "/debug/pprof/heap?gc=1&debug=1", "# HeapAlloc = ")
	if err != nil {
		return err
	}
	goroutines, err := r.number(m, "/debug/pprof/goroutine?debug=1", "goroutine profile: total ")
	if err != nil {
		return err
	}
	anonymous, err := resident(m.p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	if m == r.w.consumer {
		if r.peers, err = r.number(m, "/metrics", "valtrack_tracker_peers "); err != nil {
			return err
		}
	}
	r.add(m.name+" heap after GC, MiB", m.life, heap)
	r.add(m.name+" resident, MiB", m.life, float64(anonymous))
	r.add(m.name+" goroutines", m.life, goroutines)
	r.add(m.name+" descriptors", m.life, float64(len(descriptors)))
	if m != r.w.sentry {
		r.add(m.name+" heap over all lives, MiB", 0, heap)
	}
	return nil
}

// number is what follows prefix in an answer of a program.
func (r *recorder) number(m *member, path, prefix string) (float64, error) {
	answer, err := r.client.Get("http://" + m.address + path)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, mib)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), prefix); ok {
			value, err := strconv.ParseFloat(text, 64)
			_, copyErr := io.Copy(io.Discard, answer.Body)
			return value, errors.Join(err, copyErr)
		}
	}
	return 0, errors.Join(fmt.Errorf("%s of %s has no %q", path, m.name, prefix), lines.Err())
}

func (r *recorder) metric(t *testing.T, m *member, name string) float64 {
	t.Helper()
	value, err := r.number(m, "/metrics", name+" ")
	if err != nil {
		t.Error(err)
	}
	return value
}

// usage is of the files of a group.
type usage struct {
	files int
	bytes int64
}

// sampleFiles measures all files of the run.
func (r *recorder) sampleFiles() error {
	groups := map[string]usage{}
	err := filepath.WalkDir(r.w.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range r.groups(path) {
			u := groups[name]
			groups[name] = usage{u.files + 1, u.bytes + info.Size()}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range []string{"sentry spool", "sentry other files", "consumer datasets", "consumer other files", "broker store", "log files"} {
		r.add(name+", MiB", 0, float64(groups[name].bytes))
	}
	for _, name := range []string{"sentry files", "consumer dataset files", "broker files", "temporary files"} {
		r.add(name, 0, float64(groups[name].files))
	}
	r.add("consumer replaced parts", r.w.consumer.life, float64(groups["consumer replaced parts"].files))
	if r.peers > 0 {
		return r.sampleTracker()
	}
	return nil
}

// sampleTracker measures the tables of tracker.db, unless it is just being made.
func (r *recorder) sampleTracker() error {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.w.data(r.w.consumer), tracker.File)+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	var size, hour float64
	err = db.QueryRow(`SELECT (SELECT sum(pgsize) FROM dbstat WHERE name NOT IN ('totals', 'counts')), (SELECT coalesce(avg(length(data)), 0) FROM totals)`).Scan(&size, &hour)
	if err != nil {
		return nil // there are samples enough without this one
	}
	r.add("consumer tracker.db without totals, per peer, KiB", 0, size/r.peers)
	r.add("consumer hour of totals, KiB", 0, hour)
	return nil
}

// groups names what a file counts for.
func (r *recorder) groups(path string) (names []string) {
	path, err := filepath.Rel(r.w.dir, path)
	if err != nil {
		return nil
	}
	parts := strings.Split(path, string(filepath.Separator))
	if base := parts[len(parts)-1]; strings.Contains(base, ".tmp") || parts[0] == "tmp" {
		names = append(names, "temporary files")
	}
	switch {
	case len(parts) == 1:
		names = append(names, "log files")
	case parts[0] == "sentry" && parts[1] == "spool":
		names = append(names, "sentry spool", "sentry files")
	case parts[0] == "sentry":
		names = append(names, "sentry other files", "sentry files")
	case parts[0] == "broker":
		names = append(names, "broker store", "broker files")
	case parts[0] == "consumer" && parts[1] == "_compacting":
		names = append(names, "consumer replaced parts")
	case parts[0] == "consumer" && strings.HasSuffix(parts[1], ".parquet"):
		names = append(names, "consumer datasets", "consumer dataset files")
	case parts[0] == "consumer" && parts[1] == "tracker.db":
		names = append(names, "tracker.db")
	case parts[0] == "consumer":
		names = append(names, "consumer other files")
	}
	return names
}

// profiles keeps a heap profile of each program, once per moment.
func (r *recorder) profiles(t *testing.T, moment string) {
	t.Helper()
	for _, m := range r.w.members() {
		name := m.name + "-" + moment + ".heap"
		if r.directory == "" || m.p == nil || r.profiled[name] {
			continue
		}
		answer, err := r.client.Get("http://" + m.address + "/debug/pprof/heap?gc=1")
		if err != nil {
			continue // it has just started
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		if err == nil {
			err = os.WriteFile(filepath.Join(r.directory, name), b, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
		r.profiled[name] = true
	}
}

// TestGroups: every file of a run counts for something.
func TestGroups(t *testing.T) {
	w := &world{dir: "/run"}
	w.sentry, w.consumer, w.broker = &member{name: "sentry"}, &member{name: "consumer"}, &member{name: "broker"}
	r := &recorder{w: w}
	for path, want := range map[string][]string{
		"sentry.log":                                    {"log files"},
		"sentry/spool/1.spool":                          {"sentry spool", "sentry files"},
		"sentry/peers.db-wal":                           {"sentry other files", "sentry files"},
		"sentry/sentry.json.tmp":                        {"temporary files", "sentry other files", "sentry files"},
		"consumer/visit_events.parquet/1.parquet":       {"consumer datasets", "consumer dataset files"},
		"consumer/_compacting/visit_events.1/1.parquet": {"consumer replaced parts"},
		"consumer/tracker.db":                           {"tracker.db"},
		"consumer/tracker.db-wal":                       {"consumer other files"},
		"consumer/removed_events.json":                  {"consumer other files"},
		"broker/jetstream/$G/1.blk":                     {"broker store", "broker files"},
		"tmp/something":                                 {"temporary files"},
	} {
		if got := r.groups(filepath.Join(w.dir, path)); !slices.Equal(got, want) {
			t.Errorf("%s counts for %v, want %v", path, got, want)
		}
	}
}
