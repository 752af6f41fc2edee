package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/report/reporttest"
)

func TestEscapeFormulas(t *testing.T) {
	cells := []string{
		`=cmd|'/C calc'!A1`, "+1+1", "-2+3", "@SUM(A1)", "\tx", "\r=1", "\x1b[2J", "＝1", "=", "-",
		"", "-5", "+1.5", "-1e9", "Lighthouse/v8", " =1", `["=1"]`, "a=b", "é",
	}
	want := slices.Clone(cells)
	for i := range want[:10] {
		want[i] = "'" + want[i]
	}
	if escapeFormulas(cells); !slices.Equal(cells, want) {
		t.Errorf("got %q, want %q", cells, want)
	}
}

func TestParseTime(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]int64{
		"": 0, "0": 0, "2026-11-22": at.Add(-10 * time.Hour).UnixMilli(), "2026-11-22T10:00:00Z": at.UnixMilli(),
		fmt.Sprint(at.UnixMilli()): at.UnixMilli(),
	} {
		if got, err := parseTime("from", text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for text, hint := range map[string]string{
		fmt.Sprint(at.Unix()): "as seconds it is 2026-11-22T10:00:00Z, in milliseconds 1795341600000", fmt.Sprint(at.UnixMicro()): "13 digits",
		fmt.Sprint(at.UnixNano()): "13 digits", "-1": "13 digits", "yesterday": "want 2026-11-22", "20261122": "13 digits",
	} {
		if _, err := parseTime("from", text); err == nil || !strings.Contains(err.Error(), hint) || ExitCode(err) != exitUsage || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, want %q", text, err, hint)
		}
	}
}

func TestFindOutFile(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	open, err := os.Create(at("open"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	links := map[string]string{
		"relative": "open", "chain": "relative", "dangling": "new", "absolute": at("open"), "loop": "loop", "null": os.DevNull, "todir": ".",
		"descriptor": fmt.Sprintf("/dev/fd/%d", open.Fd()),
	}
	for name, target := range links {
		if err := os.Symlink(target, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]outFile{
		"open": {path: at("open")}, "missing": {path: at("missing")}, "relative": {path: at("open")}, "chain": {path: at("open")},
		"absolute": {path: at("open")}, "dangling": {path: at("new")}, "null": {os.DevNull, true}, "todir/chain": {path: at("open")},
	} {
		if got, err := findOutFile(at(name)); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
	if got, err := findOutFile(at("descriptor")); err != nil || !got.through {
		t.Errorf("a link to an open file: %+v, %v", got, err)
	}
	for _, name := range []string{"loop", "todir", "nowhere/x"} {
		if _, err := findOutFile(at(name)); err == nil || ExitCode(err) != exitUsage {
			t.Errorf("%s: %v, want an error of usage", name, err)
		}
	}
}

// Nodes of an hour that were purged since are in its totals: the export says that it lacks them.
func TestExportOfNodesSaysWhatWasRemoved(t *testing.T) {
	dir, at, hour := reporttest.PastHour(t, []string{"a", "purged"})
	var rows, notes bytes.Buffer
	cfg := exportConfig{table: dataset.Nodes, dataDir: dir, in: dataset.Range{From: at - 1, To: hour + 1}, format: formatNDJSON, out: "-", notes: &notes}
	if n, err := export(t.Context(), cfg, &rows); err != nil || n != 1 || !strings.HasPrefix(notes.String(), "the totals of this time include 1 node that has no row here") {
		t.Errorf("%d rows, %v, note %q", n, err, &notes)
	}
}
