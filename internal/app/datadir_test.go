package app

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// storeRow makes a data directory with a row of the network.
func storeRow(t *testing.T, dir, network string) {
	t.Helper()
	w, err := dataset.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	row := dataset.VisitRow{ID: "p", VisitID: "v", Common: dataset.Common{Network: network, Timestamp: 1}}
	if err := errors.Join(dataset.Append(w, row), w.Commit(nil), w.Close()); err != nil {
		t.Fatal(err)
	}
}

// What check refuses the start refuses in the same words, and neither changes anything.
func TestChecksAreThoseOfTheStart(t *testing.T) {
	mainnet, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		make func(t *testing.T, dir string)
		want string
	}{
		"rows of another network": {func(t *testing.T, dir string) { storeRow(t, dir, "sepolia") }, "holds data of network sepolia"},
		"network.json of another": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, networkFile), `{"name":"sepolia"}`) }, "holds data of network sepolia"},
		"another root": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, networkFile), `{"name":"mainnet","genesis_validators_root":"0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe96"}`)
		}, "holds data of network mainnet (genesis"},
		"damaged network.json":      {func(t *testing.T, dir string) { write(t, filepath.Join(dir, networkFile), `{"name"`) }, "is damaged"},
		"spool is a file":           {func(t *testing.T, dir string) { write(t, filepath.Join(dir, spoolDir), "") }, "spool is not a directory"},
		"a table is a file":         {func(t *testing.T, dir string) { write(t, dataset.Dir(dir, dataset.Visit), "") }, "is not a directory"},
		"a database is a directory": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "peers.db", "x"), "") }, "is not a regular file"},
		"damaged tracker.db": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "tracker.db"), strings.Repeat("no database ", 50))
		}, "valtrack rebuild"},
		"emptied sentry.json": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "sentry.json"), "") }, "sentry.json is damaged"},
		"emptied sentry.key":  {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "sentry.key"), "") }, "sentry.key is damaged"},
		"emptied consumer_id with rows": {func(t *testing.T, dir string) {
			storeRow(t, dir, "mainnet")
			write(t, filepath.Join(dir, consumerIDFile), "")
		}, "write that ID into the file, or give --name"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run[1]")
			tt.make(t, dir)
			before := listing(t, dir)
			use := DirUse{Sentry: true, Consumer: true, Network: mainnet}
			_, checked := CheckDataDir(dir, use)
			d, started := openDataDir(dir, use)
			if started == nil {
				d.close()
				t.Fatal("the start took it")
			}
			var config *ConfigError
			if checked == nil || checked.Error() != started.Error() || !strings.Contains(started.Error(), tt.want) || !errors.As(started, &config) {
				t.Errorf("check says %v, the start %v; want both with %q", checked, started, tt.want)
			}
			if after := listing(t, dir); after != before {
				t.Errorf("files before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		out.WriteString(path + "\n")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Emptied files are written again where nothing is lost by it.
func TestEmptiedFilesAreWrittenAgain(t *testing.T) {
	for _, text := range []string{"", "\n", "\x00\x00\x00\x00"} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, networkFile), text)
		write(t, filepath.Join(dir, consumerIDFile), text)
		mainnet, err := network.Load("mainnet")
		if err != nil {
			t.Fatal(err)
		}
		d, err := openDataDir(dir, DirUse{Consumer: true, Network: mainnet})
		if err != nil {
			t.Fatal(err)
		}
		name, err := durableName(ConsumerConfig{DataDir: dir})
		again, againErr := durableName(ConsumerConfig{DataDir: dir})
		if err := errors.Join(err, againErr, d.close()); err != nil || name != again || len(name) != len(durablePrefix)+16 {
			t.Errorf("durable %q, then %q, %v", name, again, err)
		}
		if n, ok, err := NetworkOf(dir); err != nil || !ok || n.Name != "mainnet" || n.Missing != nil {
			t.Errorf("network %q, %t, %v", n.Name, ok, err)
		}
	}
}
