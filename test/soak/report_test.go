package soak

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/chainbound/valtrack/test/trend"
)

// settledPoints are those after both the run and the life of the process have settled.
func (m *measure) settledPoints(s schedule) []trend.Point {
	born := map[int]time.Duration{}
	return slices.DeleteFunc(slices.Clone(m.points), func(p trend.Point) bool {
		if _, known := born[p.Life]; !known {
			born[p.Life] = p.At
		}
		return p.At < s.settled || p.At < born[p.Life]+m.settled
	})
}

// limit is the growth per hour that counts as growth.
func (m *measure) limit(s schedule) float64 {
	return max(m.allowed, m.least/(s.run-s.settled).Hours())
}

// verdict says what is known of a trend.
func verdict(is trend.Trend, limit float64) string {
	switch {
	case !is.Known:
		return "not known"
	case is.Low > 0 && is.PerHour > limit:
		return "GROWS"
	case is.High > limit:
		return "not known: it may grow"
	case is.Low > limit/100:
		return "grows, within the limit"
	}
	return "steady"
}

// report prints what was measured, and fails for what grows when the run was long enough.
func (r *recorder) report(t *testing.T, s schedule, long bool) {
	t.Helper()
	t.Logf("load average of the machine: %.1f, at most %.1f", mean(r.loads), slices.Max(r.loads))
	if r.began.UTC().YearDay() != time.Now().UTC().YearDay() {
		t.Log("midnight (UTC) was within the run: statistics of another day began to fill, so what keeps them grew again")
	}
	if r.directory != "" {
		r.writeSamples(t)
	}
	r.table(t, s, long)
}

func (r *recorder) table(t *testing.T, s schedule, long bool) {
	t.Helper()
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "measure\tbegin\tend\tper hour\t95 % interval\tlimit\tverdict\t")
	verdicts := map[string]int{}
	for _, m := range r.measures {
		points := m.settledPoints(s)
		tenth := max(1, len(points)/10)
		if len(m.points) == 0 {
			t.Errorf("%s: no samples", m.name)
		}
		is, limit := trend.Of(points), m.limit(s)
		word := verdict(is, limit)
		verdicts[word]++
		if !is.Known {
			fmt.Fprintf(table, "%s\t\t\t\t\t%.2f\t%s\t\n", m.name, limit, word)
			continue
		}
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%+.2f\t%+.2f to %+.2f\t%.2f\t%s\t\n", m.name, middle(points[:tenth]), middle(points[len(points)-tenth:]),
			is.PerHour, is.Low, is.High, limit, word)
		if long && word == "GROWS" {
			t.Errorf("%s grows by %.2f per hour (%.2f to %.2f)", m.name, is.PerHour, is.Low, is.High)
		}
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%v, of which the first %v do not count; a sample each %v; %d kills\n%s", s.run, s.settled.Round(time.Second), s.sample, longKills, text.String())
	for _, word := range slices.Sorted(maps.Keys(verdicts)) {
		t.Logf("%d: %s", verdicts[word], word)
	}
}

func mean(values []float64) (sum float64) {
	for _, v := range values {
		sum += v / float64(len(values))
	}
	return sum
}

// middle is the median of the values.
func middle(points []trend.Point) float64 {
	var values []float64
	for _, p := range points {
		values = append(values, p.Value)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// writeSamples writes samples.csv.
func (r *recorder) writeSamples(t *testing.T) {
	t.Helper()
	var b strings.Builder
	b.WriteString("measure,seconds,life,value\n")
	for _, m := range r.measures {
		for _, p := range m.points {
			fmt.Fprintf(&b, "%q,%.1f,%d,%g\n", m.name, p.At.Seconds(), p.Life, p.Value)
		}
	}
	if err := os.WriteFile(filepath.Join(r.directory, "samples.csv"), []byte(b.String()), 0o600); err != nil {
		t.Error(err)
	}
}

// TestSamplesSoFar prints the table of a run that goes on, from SOAK_SAMPLES, its
// samples.csv; SOAK_HOURS is that of the run.
func TestSamplesSoFar(t *testing.T) {
	path := os.Getenv("SOAK_SAMPLES")
	if path == "" {
		t.Skip("needs SOAK_SAMPLES")
	}
	hours, err := strconv.ParseFloat(os.Getenv(hoursVariable), 64)
	if err != nil {
		t.Fatalf("%s: %v", hoursVariable, err)
	}
	s := scheduleOf(time.Duration(hours * float64(time.Hour)))
	r := &recorder{measures: newMeasures(s)}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		seconds, err1 := strconv.ParseFloat(row[1], 64)
		life, err2 := strconv.Atoi(row[2])
		value, err3 := strconv.ParseFloat(row[3], 64)
		i := slices.IndexFunc(r.measures, func(m *measure) bool { return m.name == row[0] })
		if err := errors.Join(err1, err2, err3); err != nil || i < 0 {
			t.Fatalf("%q: %v", row, err)
		}
		m := r.measures[i]
		m.points = append(m.points, trend.Point{At: time.Duration(seconds * float64(time.Second)), Life: life, Value: value})
	}
	r.table(t, s, false)
}

func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		is   trend.Trend
		want string
	}{
		{trend.Trend{PerHour: 5, Low: 4, High: 6, Known: true}, "GROWS"},
		{trend.Trend{PerHour: 2, Low: 1, High: 6, Known: true}, "GROWS"},
		{trend.Trend{PerHour: 0.5, Low: 0.4, High: 0.6, Known: true}, "grows, within the limit"},
		{trend.Trend{PerHour: 0.5, Low: 0.1, High: 2, Known: true}, "not known: it may grow"},
		{trend.Trend{PerHour: 5, Low: -1, High: 11, Known: true}, "not known: it may grow"},
		{trend.Trend{PerHour: 0.1, Low: -0.1, High: 0.3, Known: true}, "steady"},
		{trend.Trend{PerHour: -5, Low: -6, High: -4, Known: true}, "steady"},
		{trend.Trend{}, "not known"},
	} {
		if got := verdict(test.is, 1); got != test.want {
			t.Errorf("%+v with limit 1: %q, want %q", test.is, got, test.want)
		}
	}
}

// TestSettledPoints: what a process does after its start, the first or a later one, does
// not count as growth.
func TestSettledPoints(t *testing.T) {
	m := &measure{settled: 10 * time.Second}
	for second := range 100 {
		m.points = append(m.points, trend.Point{At: time.Duration(second) * time.Second, Life: 1 + second/40})
	}
	got := map[int][]int{}
	for _, p := range m.settledPoints(schedule{settled: 30 * time.Second}) {
		got[p.Life] = append(got[p.Life], int(p.At.Seconds()))
	}
	for life, from := range map[int]int{1: 30, 2: 50, 3: 90} {
		if len(got[life]) == 0 || got[life][0] != from {
			t.Errorf("life %d counts from %v, want %d", life, got[life], from)
		}
	}
}
