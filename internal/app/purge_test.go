package app

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
	"github.com/chainbound/valtrack/internal/sentry"
	"github.com/chainbound/valtrack/internal/spool"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Peer ids of secp256k1 keys.
const (
	peerA = "16Uiu2HAm9dqnTSYPpqFevmJXXvRUavRzcEuYPVS2htkoQLumpu4w"
	peerB = "16Uiu2HAmPLe7Mzm8TsYUubgCAW1aJoeFScxrLj8ppHFivPo97bUZ"
	peerC = "16Uiu2HAkzdQ5Y9SYT91K1ue5SxXwgmajXntfScGnLYeip5hHyWmT"
)

// purgeable is a data directory with rows of three peers: A at 192.0.2.1, B at 192.0.2.2
// and, in one row, 198.51.100.7, and C without an address; and rejected events.
func purgeable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	w, err := dataset.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	addresses := map[string][]string{peerA: {"/ip4/192.0.2.1/tcp/9000"}, peerB: {"/ip4/192.0.2.2/tcp/9000", "/ip4/198.51.100.7/udp/9001/quic-v1"}, peerC: {""}}
	n := int64(0)
	for _, id := range []string{peerA, peerB, peerC} {
		for _, at := range addresses[id] {
			n++
			c := dataset.Common{Network: "n", CrawlerID: "c", Timestamp: 1763800000000 + n}
			err := errors.Join(
				dataset.Append(w, dataset.DiscoveryRow{ID: id, Seq: uint64(n), Common: c}),
				dataset.Append(w, dataset.MetadataRow{ID: id, Multiaddr: at, VisitID: fmt.Sprint(n), Common: c}),
				dataset.Append(w, dataset.VisitRow{ID: id, Multiaddr: &at, VisitID: fmt.Sprint(n), Common: c}),
				dataset.Append(w, dataset.EstimateRow{ID: id, Common: c}))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Commit(dataset.Coverage{"s-1": {{1, 12}}}), w.Close()); err != nil {
		t.Fatal(err)
	}
	file, err := eventlog.OpenRejected(dir, slog.New(slog.DiscardHandler), func(event.Key, eventlog.RejectedEvent) {})
	if err != nil {
		t.Fatal(err)
	}
	for i, payload := range []string{`{"id":"` + peerA + `"`, `{"id":"` + peerB + `","x":-1}`, `{"multiaddr":"/ip4/192.0.2.1/tcp/1/p2p/` + peerC + `"}`, `{"id":"` + peerC + `"}`} {
		if err := file.Append(event.Encoded{Subject: event.SubjectVisitEnded, Key: fmt.Sprintf("s-1-%d", 13+i), Data: []byte(payload)}, 1, errors.New("because")); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func left(t *testing.T, dir string) (ids []string) {
	t.Helper()
	for _, table := range dataset.Tables() {
		if err := dataset.ScanTable(t.Context(), dir, table, dataset.Range{}, func(r dataset.Row) error {
			ids = append(ids, table+" "+r.Peer())
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

func TestPurge(t *testing.T) {
	unknown := []string{strings.Repeat("ab", 32), "203.0.113.1"}
	for name, c := range map[string]struct {
		entries   []string
		gone      []string // peers
		rows      int64
		rejected  int
		unmatched []string
	}{
		"a peer id":               {[]string{peerA}, []string{peerA}, 4, 1, nil},
		"another":                 {[]string{peerC}, []string{peerC}, 4, 2, nil},
		"an address":              {[]string{"192.0.2.1"}, []string{peerA}, 4, 2, nil},
		"an address of long ago":  {[]string{"198.51.100.0/24"}, []string{peerB}, 8, 1, nil},
		"a network and a peer id": {[]string{"192.0.2.0/24", peerC}, []string{peerA, peerB, peerC}, 16, 4, nil},
		"nobody who is known":     {unknown, nil, 0, 0, unknown},
		"somebody who is known":   {[]string{unknown[0], peerA, unknown[1]}, []string{peerA}, 4, 1, unknown},
		"by all names":            {[]string{"203.0.113.1", "192.0.2.0/24", "192.0.2.1", peerA, peerB}, []string{peerA, peerB}, 12, 3, unknown[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			dir := purgeable(t)
			file := filepath.Join(t.TempDir(), "exclude")
			if err := os.WriteFile(file, []byte(c.entries[0]+" # of a file"), 0o600); err != nil {
				t.Fatal(err)
			}
			x, err := sentry.NewExclude(file, c.entries[1:])
			if err != nil {
				t.Fatal(err)
			}
			before := left(t, dir)
			found, err := WouldPurge(t.Context(), dir, x)
			if d := cmp.Diff(c.unmatched, found.Unmatched, cmpopts.EquateEmpty()); err != nil || d != "" {
				t.Errorf("dry run: %v, unmatched (-want +got):\n%s", err, d)
			}
			done, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			var rows int64
			for _, n := range done.Rows {
				rows += n
			}
			if rows != c.rows || done.RejectedEvents != c.rejected || done.Peers != len(c.gone) {
				t.Errorf("removed %+v", done)
			}
			if d := cmp.Diff(c.unmatched, done.Unmatched, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("unmatched (-want +got):\n%s", d)
			}
			var want []string
			for _, row := range before {
				if !contains(c.gone, row) {
					want = append(want, row)
				}
			}
			if d := cmp.Diff(want, left(t, dir)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			checkNothingMissing(t, dir, c.rejected)
			if again, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler)); err != nil || again.Peers != 0 || again.RejectedEvents != 0 {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

func contains(ids []string, row string) bool {
	for _, id := range ids {
		if strings.HasSuffix(row, id) {
			return true
		}
	}
	return false
}

func checkNothingMissing(t *testing.T, dir string, removed int) {
	t.Helper()
	rejected, err := consumer.Rejected(dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := dataset.Check(t.Context(), dir, rejected)
	if err != nil {
		t.Fatal(err)
	}
	if s := h.Sentries[0]; h.Missing() != 0 || s.Last != 16 || s.Removed != uint64(removed) || s.Stored != 12+s.Removed || s.Rejected != 4-s.Removed {
		t.Errorf("sentry %+v", s)
	}
}

// trackPeer gives a data directory a tracker that knows an address of the peer which no row
// has.
func trackPeer(t *testing.T, dir, id, ip string) {
	t.Helper()
	tr, err := tracker.Open(t.Context(), tracker.Config{
		Dir: dir, Network: "n", Log: slog.New(slog.DiscardHandler),
		Params: estimate.Params{
			Clock:  eth2.Clock{Genesis: time.Unix(1763000000, 0), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32},
			Preset: eth2.MainnetPreset(), ActiveValidators: 950_000,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.Add(&event.PeerDiscovered{
		Common: event.Common{Network: "n", CrawlerID: "c", Timestamp: time.Now().UnixMilli()}, ENR: "enr:-", ID: id, NodeID: eth2.NodeID{1}, Seq: 1, IP: ip,
	})
	tr.Apply(1)
	if err := errors.Join(tr.Write(t.Context()), tr.Close()); err != nil {
		t.Fatal(err)
	}
}

// A peer whose address only the tracker knows is removed as a whole, and its events among
// those that a broker did not accept, too.
func TestPurgeOfAnAddressThatOnlyTheTrackerKnows(t *testing.T) {
	dir := purgeable(t)
	trackPeer(t, dir, peerC, "203.0.113.9")
	aside := event.Encoded{Subject: event.SubjectVisitEnded, Key: "s-1-17", Data: []byte(`{"id":"` + peerC + `"}`)}
	other := event.Encoded{Subject: event.SubjectVisitEnded, Key: "s-1-18", Data: []byte(`{"id":"` + peerA + `"}`)}
	if err := errors.Join(keepAside(dir, []event.Encoded{aside}, errors.New("too large"), slog.Default()), keepAside(dir, []event.Encoded{other}, errors.New("too large"), slog.Default())); err != nil {
		t.Fatal(err)
	}
	x, err := sentry.NewExclude("", []string{"203.0.113.9"})
	if err != nil {
		t.Fatal(err)
	}
	done, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if done.Peers != 1 || done.TrackedPeers != 1 || done.RejectedEvents != 3 || done.Rows[dataset.Visit] != 1 {
		t.Errorf("removed %+v", done)
	}
	for _, row := range left(t, dir) {
		if contains([]string{peerC}, row) {
			t.Errorf("still there: %s", row)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, eventlog.SentryRejectedName))
	if err != nil || strings.Contains(string(text), peerC) || !strings.Contains(string(text), peerA) {
		t.Errorf("the sentry's rejected events are %s, %v", text, err)
	}
}

// While the tracker cannot be read it is left as it is: it alone knows the address, and the
// next purge needs it to find the peer's rows.
func TestPurgeWithATrackerThatCannotBeRead(t *testing.T) {
	dir := purgeable(t)
	trackPeer(t, dir, peerC, "203.0.113.9")
	x, err := sentry.NewExclude("", []string{"203.0.113.9"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, tracker.File)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Repeat([]byte("no database "), len(whole)/12)
	if err := os.WriteFile(path, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	done, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), tracker.File) || done.TrackedPeers != 0 {
		t.Errorf("removed %+v, %v", done, err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, broken) {
		t.Errorf("the tracker was changed, %v", err)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	done, err = Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler))
	if err != nil || done.Peers != 1 || done.TrackedPeers != 1 || done.Rows[dataset.Visit] != 1 {
		t.Errorf("then: removed %+v, %v", done, err)
	}
}

// A sentry that may append to its rejected events must not run meanwhile.
func TestPurgeBesideASentry(t *testing.T) {
	dir := purgeable(t)
	lock, err := takeLock(dir, roleSentry)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	x, err := sentry.NewExclude("", []string{peerA})
	if err != nil {
		t.Fatal(err)
	}
	if done, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler)); err != nil || done.Peers != 1 {
		t.Errorf("without such a file: %+v, %v", done, err)
	}
	if err := keepAside(dir, []event.Encoded{{Subject: event.SubjectVisitEnded, Key: "s-1-17", Data: []byte("{}")}}, errors.New("too large"), slog.Default()); err != nil {
		t.Fatal(err)
	}
	var config *ConfigError
	if _, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler)); !errors.As(err, &config) || !strings.Contains(err.Error(), "a running sentry") {
		t.Errorf("with one: %v", err)
	}
}

// What showed a peer's address may be gone when a purge is run again.
func TestPurgeGoesOnAfterItWasKilled(t *testing.T) {
	dir := purgeable(t)
	x, err := sentry.NewExclude("", []string{"192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	// As if it was killed when only peer_estimates had rows of A.
	p, err := newPurger(x)
	if err != nil {
		t.Fatal(err)
	}
	if unread, err := p.findPeers(t.Context(), dir); unread != nil || err != nil {
		t.Fatal(unread, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, foundFile))
	var found []string
	if err != nil || json.Unmarshal(text, &found) != nil || cmp.Diff([]string{peerA}, found) != "" {
		t.Fatalf("found %s, %v", text, err)
	}
	other, err := sentry.NewExclude("", []string{"203.0.113.1"})
	if err != nil {
		t.Fatal(err)
	}
	done, err := Purge(t.Context(), dir, other, slog.New(slog.DiscardHandler))
	if err != nil || done.Peers != 1 || done.Rows[dataset.PeerEstimates] != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := os.Stat(filepath.Join(dir, foundFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", foundFile, err)
	}
}

func TestPurgeThatIsInterrupted(t *testing.T) {
	dir := purgeable(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x, err := sentry.NewExclude("", []string{peerA})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Purge(ctx, dir, x, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "run it again") {
		t.Errorf("error %v", err)
	}
	lock, err := dataset.TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	var config *ConfigError
	if _, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler)); !errors.As(err, &config) || !errors.Is(err, dataset.ErrLocked) {
		t.Errorf("beside a consumer: %v", err)
	}
}

// A part that cannot be read keeps nothing else from being counted and removed.
func TestPurgeByAddressGoesOnPastADamagedPart(t *testing.T) {
	for _, table := range []string{dataset.Discovery, dataset.Visit, dataset.PeerEstimates} {
		dir := purgeable(t)
		parts, err := filepath.Glob(filepath.Join(dataset.Dir(dir, table), "part-*1.parquet"))
		if err != nil || len(parts) != 1 {
			t.Fatalf("parts %v, %v", parts, err)
		}
		text, err := os.ReadFile(parts[0])
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)/3] ^= 1
		if err := os.WriteFile(parts[0], text, 0o644); err != nil {
			t.Fatal(err)
		}
		x, err := sentry.NewExclude("", []string{"192.0.2.1"})
		if err != nil {
			t.Fatal(err)
		}
		found, err := WouldPurge(t.Context(), dir, x)
		if !errors.Is(err, dataset.ErrDamaged) || !strings.Contains(err.Error(), parts[0]) {
			t.Errorf("%s: dry run: %v", table, err)
		}
		done, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler))
		if !errors.Is(err, dataset.ErrDamaged) || !strings.Contains(err.Error(), parts[0]) || !strings.Contains(err.Error(), "run it again") {
			t.Errorf("%s: %v", table, err)
		}
		for _, other := range dataset.Tables() {
			want := int64(1)
			if other == table || other == dataset.ValidatorMetadata { // which has none
				want = 0
			}
			if found.Rows[other] != want || done.Rows[other] != want {
				t.Errorf("%s is damaged: %d rows of %s counted, %d removed, want %d", table, found.Rows[other], other, done.Rows[other], want)
			}
		}
		if found.Peers != 1 || done.Peers != 1 || done.RejectedEvents != 2 {
			t.Errorf("%s: counted %+v, removed %+v", table, found, done)
		}
	}
}

// Whoever provokes rejected events does not fill the sentry's disk.
func TestEventsKeptAsideAreBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, eventlog.SentryRejectedName)
	keep := func(counters ...int) {
		t.Helper()
		var events []event.Encoded
		for _, n := range counters {
			events = append(events, event.Encoded{Subject: event.SubjectVisitEnded, Key: fmt.Sprintf("s-1-%d", n), Data: []byte("{}")})
		}
		if err := keepAside(dir, events, errors.New("forged"), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		keep(2*n, 2*n+1)
		if err := os.Truncate(path, eventlog.MaxRejectedFile-1); err != nil { // as good as full
			t.Fatal(err)
		}
	}
	keep(6)
	newer, err := os.ReadFile(path)
	if err != nil || strings.Count(string(newer), "\n") != 1 || !strings.Contains(string(newer), "s-1-6") {
		t.Errorf("newer: %.300s, %v", newer, err)
	}
	older, err := os.Stat(filepath.Join(dir, eventlog.OlderSentryRejectedName))
	if err != nil || older.Size() > eventlog.MaxRejectedFile {
		t.Errorf("older: %v, %v", older, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}

// Events that wait in the spool are removed, or dropped when they are sent, and are not missing.
func TestPurgeOfTheSpool(t *testing.T) {
	for name, running := range map[string]bool{"without a sentry": false, "beside a sentry": true} {
		dir := purgeable(t)
		s, err := spool.Open(spool.Config{Dir: filepath.Join(dir, spoolDir), Sentry: "s", Boot: 2, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{peerA, peerB, peerA} {
			e := &event.VisitEnded{Common: event.Common{Network: "n", CrawlerID: "c", Timestamp: 1763800000000}, VisitID: "v", ID: id, Direction: event.Outbound,
				Started: 1763800000000, Ended: 1763800000000, Outcome: event.OutcomeOK}
			if err := s.Publish(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if running {
			lock, err := takeLock(dir, roleSentry)
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
		}
		x, err := sentry.NewExclude("", []string{peerA})
		if err != nil {
			t.Fatal(err)
		}
		if found, err := WouldPurge(t.Context(), dir, x); err != nil || found.SpooledEvents != 2 {
			t.Errorf("%s: dry run: %+v, %v", name, found, err)
		}
		done, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler))
		if err != nil || done.SpooledEvents != 2 || done.Rows[dataset.Visit] != 1 {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
		left, err := spool.Keys(filepath.Join(dir, spoolDir), func([]byte) bool { return true })
		if want := map[bool]int{false: 1, true: 3}[running]; err != nil || len(left) != want {
			t.Errorf("%s: %d events are left, want %d, %v", name, len(left), want, err)
		}
		w, err := dataset.Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for counter, want := range map[uint64]bool{1: true, 2: false, 3: true} {
			if got := w.Covered().Has("s-2", counter); got != want {
				t.Errorf("%s: a consumer takes event %d for stored: %v, want %v", name, counter, got, want)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Of a peer that one event in the spool shows at an excluded address, the others go too. Of one whose
// event only has the address in a text that it chose, nothing but that event does.
func TestPurgeByAddressOfTheSpool(t *testing.T) {
	for name, dir := range map[string]string{"of a sentry": t.TempDir(), "with datasets": purgeable(t)} {
		tracked := 0
		if name == "with datasets" {
			trackPeer(t, dir, peerC, "203.0.113.9") // it was elsewhere before
			tracked = 1
		}
		s, err := spool.Open(spool.Config{Dir: filepath.Join(dir, spoolDir), Sentry: "s", Boot: 2, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []struct{ id, multiaddr, agent string }{
			{peerC, "", ""}, {peerB, "/ip4/203.0.113.9/tcp/9000", ""}, {peerC, "/ip4/203.0.113.8/tcp/9000", ""}, {peerB, "/ip4/203.0.113.9/tcp/9000", "203.0.113.8"},
		} {
			e := &event.VisitEnded{Common: event.Common{Network: "n", CrawlerID: "c", Timestamp: 1763800000000}, VisitID: "v", ID: at.id, Direction: event.Inbound,
				Multiaddr: at.multiaddr, ClientVersion: at.agent, Started: 1763800000000, Ended: 1763800000000, Outcome: event.OutcomeOK}
			if err := s.Publish(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		x, err := sentry.NewExclude("", []string{"203.0.113.8"})
		if err != nil {
			t.Fatal(err)
		}
		if found, err := WouldPurge(t.Context(), dir, x); err != nil || found.Peers != 1 || found.TrackedPeers != tracked || found.SpooledEvents != 3 || len(found.Unmatched) > 0 {
			t.Errorf("%s: dry run: %+v, %v", name, found, err)
		}
		if done, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler)); err != nil || done.Peers != 1 || done.TrackedPeers != tracked || done.SpooledEvents != 3 || len(done.Unmatched) > 0 {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
		if left, err := spool.Keys(filepath.Join(dir, spoolDir), func([]byte) bool { return true }); err != nil || len(left) != 1 {
			t.Errorf("%s: %v are left, %v", name, left, err)
		}
	}
}

// In the directory of a sentry alone nothing of the node stays in any file: not in the peer table, from
// which the sentry may have removed it before, nor in the spool, sent or not.
func TestPurgeOfASentry(t *testing.T) {
	dir := t.TempDir()
	net, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	store, err := sentry.OpenStore(dir, net, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
	db, err := sql.Open("sqlite", filepath.Join(dir, "peers.db"))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	for i, id := range []string{peerA, peerB, peerC} { // without secure_delete: C leaves its bytes
		if _, err := db.ExecContext(t.Context(), "INSERT INTO peers VALUES (?, ?, '', 0, 0, 0, 0, 0, ?, 0, 0, 0, 0, 0, 0)", id, []byte{}, i); err != nil {
			t.Fatal(err)
		}
	}
	_, err = db.ExecContext(t.Context(), "PRAGMA secure_delete = OFF; DELETE FROM peers WHERE id = ?", peerC)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(spool.Config{Dir: filepath.Join(dir, spoolDir), Sentry: "s", Boot: 2, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{peerA, peerB, peerC} {
		e := &event.VisitEnded{Common: event.Common{Network: "mainnet", CrawlerID: "c", Timestamp: 1763800000000}, VisitID: "v", ID: id, Direction: event.Outbound,
			Multiaddr: fmt.Sprintf("/ip4/192.0.2.%d/tcp/9000", i+1), Started: 1763800000000, Ended: 1763800000000, Outcome: event.OutcomeOK}
		if err := s.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	x, err := sentry.NewExclude("", []string{peerA, peerC, "203.0.113.1"})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := takeLock(dir, roleSentry)
	if err != nil {
		t.Fatal(err)
	}
	var config *ConfigError
	if _, err := Purge(t.Context(), dir, x, slog.New(slog.DiscardHandler)); !errors.As(err, &config) || !strings.Contains(err.Error(), "a running sentry") {
		t.Errorf("beside the sentry: %v", err)
	}
	lock.Close()
	if found, err := WouldPurge(t.Context(), dir, x); err != nil || found.SpooledEvents != 2 {
		t.Errorf("dry run: %+v, %v", found, err)
	}
	var log bytes.Buffer
	done, err := Purge(t.Context(), dir, x, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || done.SpooledEvents != 2 || done.PeerTable != 1 || !slices.Equal(done.Unmatched, []string{"203.0.113.1"}) {
		t.Errorf("%+v, %v", done, err)
	}
	if !strings.Contains(log.String(), "not sent yet") || !strings.Contains(log.String(), "events=2") {
		t.Errorf("nothing says that consumers will miss events: %s", &log)
	}
	kept := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, gone := range []string{peerA, peerC, "192.0.2.1/", "192.0.2.3/"} {
			if bytes.Contains(data, []byte(gone)) {
				t.Errorf("%s still has %s", path, gone)
			}
		}
		if bytes.Contains(data, []byte(peerB)) {
			kept++
		}
		return err
	})
	if err != nil || kept != 2 {
		t.Errorf("%d files have the node that stays, want 2, %v", kept, err)
	}
	if dataset.Exists(dir) {
		t.Error("the sentry's directory has datasets now")
	}
}
