package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

// `valtrack check data` fails on whatever was done to the datasets behind the consumer's back.
func TestCheckDataAfterDamage(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.compact = 0
	w.begin(t, broker, sentry, storer)
	w.untilLogged(t, storer, 0, "consuming")
	w.untilPublished(t, 3*testRate)
	w.end(t)
	if code, text := w.checkCode(t.Context(), w.data); code != 0 {
		t.Fatalf("exit code %d without damage\n%s", code, text)
	}
	for _, d := range damages() {
		for _, table := range d.tables {
			name := d.name + " in " + table
			dir := filepath.Join(t.TempDir(), "data")
			if err := errors.Join(os.CopyFS(dir, os.DirFS(w.data)), d.do(dataset.Dir(dir, table))); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if code, text := w.checkCode(t.Context(), dir); code != 1 {
				t.Errorf("%s: check data ends with %d, want 1\n%.600s", name, code, text)
			}
		}
	}
}

// checkCode is the exit code of check data, and what it says.
func (w *world) checkCode(ctx context.Context, dir string) (int, string) {
	cmd := exec.CommandContext(ctx, w.valtrack.path, "check", "data", "--data-dir", dir)
	cmd.Env = append(os.Environ(), w.valtrack.env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return -1, err.Error()
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// damage is done to the directory of a table.
type damage struct {
	name   string
	do     func(dir string) error
	tables []string
}

func damages() []damage {
	// Estimates are rows of our own, which have no events.
	events := slices.DeleteFunc(dataset.Tables(), func(table string) bool { return table == dataset.PeerEstimates })
	// Without its newest part metadata_events looks as it does during a commit.
	derived := slices.DeleteFunc(slices.Clone(events), func(table string) bool { return table == dataset.Metadata })
	all := dataset.Tables()
	return []damage{
		{"the newest part removed", onPart(func(parts []string) error { return os.Remove(parts[len(parts)-1]) }), derived},
		{"a part removed", onPart(func(parts []string) error { return os.Remove(largest(parts)) }), events},
		{"the directory removed", os.RemoveAll, all},
		{"an empty part in another's place", onPart(func(parts []string) error {
			b, err := os.ReadFile(smallest(parts))
			return errors.Join(err, os.WriteFile(largest(parts), b, 0o644))
		}), events},
		{"a copy under another name", onPart(func(parts []string) error {
			b, err := os.ReadFile(parts[0])
			return errors.Join(err, os.WriteFile(filepath.Join(filepath.Dir(parts[0]), "copy.parquet"), b, 0o644))
		}), all},
		{"a part cut short", onPart(func(parts []string) error { return os.Truncate(largest(parts), sizeOf(largest(parts))/2) }), all},
		{"a bit flipped", onPart(func(parts []string) error {
			b, err := os.ReadFile(largest(parts))
			if err == nil {
				b[len(b)/3] ^= 4
			}
			return errors.Join(err, os.WriteFile(largest(parts), b, 0o644))
		}), all},
	}
}

func onPart(do func(parts []string) error) func(dir string) error {
	return func(dir string) error {
		parts, err := filepath.Glob(filepath.Join(dir, "part-*.parquet"))
		if err == nil && len(parts) < 2 {
			err = errors.New("fewer than two parts in " + dir)
		}
		if err != nil {
			return err
		}
		return do(parts)
	}
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func bySize(a, b string) int { return int(sizeOf(a) - sizeOf(b)) }

func largest(parts []string) string  { return slices.MaxFunc(parts, bySize) }
func smallest(parts []string) string { return slices.MinFunc(parts, bySize) }
