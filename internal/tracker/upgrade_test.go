package tracker

import (
	"compress/gzip"
	"database/sql"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// TestEarlierDatabase opens a database that commit ae22baf wrote: 100 seconds of
// `valtrack run --network devnet --devnet-nodes 6 --devnet-slot 500ms --segment-age 1s
// --watch-epochs 1`. That program cannot decode what this one writes: from the first write
// on it must find a schema that it refuses, and not before, since it can go on until then.
func TestEarlierDatabase(t *testing.T) {
	const lighthousePeer = "16Uiu2HAmNURhH7sMLmvYiCUzSWZsebs7mH7evGsmzZmcXkZdnPJ3"
	dir := t.TempDir()
	unpack(t, filepath.Join("testdata", "tracker-v1.db.gz"), filepath.Join(dir, File))
	check := func(read string, median int) {
		t.Helper()
		s, err := Read(t.Context(), dir)
		if err != nil {
			t.Fatalf("%s: %v", read, err)
		}
		p := s.Peer(lighthousePeer)
		if p == nil || p.Observations != 3 || p.Outcomes[0] != 3 || len(p.Endpoints) != 1 || p.Estimate == nil || p.Estimate.Median != median || p.Estimate.EpochsWatched != 5 {
			t.Fatalf("%s: estimate %+v of peer %+v", read, p.Estimate, p)
		}
		if days, undecodable := s.Days(p); undecodable > 0 || len(days) != 1 || days[0].Client.Kind != eth2.ClientLighthouse {
			t.Errorf("%s: %d days, %d that cannot be decoded", read, len(days), undecodable)
		}
		if total := s.Totals(); total.Nodes != 6 || total.ActiveValidators != 950_000 || s.Applied == nil || *s.Applied != 18 || s.Network != "devnet" {
			t.Errorf("%s: totals %+v, segment %v of %s", read, total, s.Applied, s.Network)
		}
		h, err := ReadHistory(t.Context(), dir, 0, math.MaxInt64)
		if err != nil || len(h.Totals) != 1 || math.Round(h.Totals[0].Validators) != 874 || len(h.Counts) != 1 || h.Counts[0].Counts[CountHandshakes] != 21 {
			t.Errorf("%s: history %+v, %v", read, h, err)
		}
	}
	check("as it was", 900)

	schema := func(when string, want int) {
		t.Helper()
		if got := storedSchema(t, dir); got != want {
			t.Errorf("%s: schema %d, want %d", when, got, want)
		}
	}
	schema("as it was", 1)

	cfg := config(dir)
	cfg.Network = "devnet"
	cfg.Params = estimate.Params{ActiveValidators: 950_000, Preset: eth2.MainnetPreset(),
		Clock: eth2.Clock{Genesis: time.Unix(1795941813, 0), SlotDuration: 500 * time.Millisecond, SlotsPerEpoch: 32}}
	tr, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	now := time.UnixMilli(1795942041296)
	tr.now = func() time.Time { return now }
	schema("opened", 1)
	tr.store.crash = func() error { return errors.New("killed") }
	if err := tr.Write(t.Context()); err == nil {
		t.Fatal("no error of a write that failed")
	}
	schema("a write failed", 1)
	tr.store.crash = nil
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	check("opened and closed", 890) // estimated again, by a client whose rate nothing measured
	schema("written", 2)
}

// A new encoding of days, which earlier programs cannot decode, needs a new schemaVersion.
func TestSchemaVersionIsOfTheEncoding(t *testing.T) {
	data, _ := estimate.NewStatistics(eth2.Client{}).AppendBinary(nil)
	if want := map[int]byte{2: 5}[schemaVersion]; data[0] != want {
		t.Errorf("days have encoding %d, schema %d is for %d", data[0], schemaVersion, want)
	}
}

// storedSchema is the user_version of a data directory's database.
func storedSchema(t *testing.T, dir string) (version int) {
	t.Helper()
	db, err := sql.Open("sqlite", source(filepath.Join(dir, File), "ro"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), "PRAGMA user_version").Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
