package sentry

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// A start on which nobody can be visited says why, within a minute.
func TestDrought(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	now := net.Clock.EpochStart(50)
	ours := net.Schedule.Periods[0].Digest
	theirs := eth2.ForkDigest{0xde, 0xad, 0xbe, 0xef}
	record := func(n int, digest eth2.ForkDigest) *enr.Record {
		r := testRecordAt(digest, "peer", 1, uint16(9000+n), 0)
		r.NodeID[0] = byte(n)
		return r
	}
	mainnet, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	excludeAll := &Exclude{}
	everywhere, _ := parseRules(strings.NewReader("0.0.0.0/0\n::/0\n"), "exclude", false)
	excludeAll.rules.Store(everywhere)
	for name, tt := range map[string]struct {
		cfg     Config
		records []*enr.Record
		stats   Stats
		want    []string
	}{
		"another genesis": {
			Config{AllowPrivate: true}, []*enr.Record{record(1, theirs), record(2, theirs), record(3, eth2.ForkDigest{1})}, Stats{},
			[]string{"none is of our network and fork", "records=3", "dialled=0", "our_digest=" + ours.String(), "their_digest=0xdeadbeef", "with_their_digest=2", "other_digest=3"},
		},
		"private addresses": {
			Config{}, []*enr.Record{record(1, ours), record(2, ours)}, Stats{}, []string{"--allow-private", "no_usable_address=2"},
		},
		"another shard": {
			Config{AllowPrivate: true, Shard: Shard{Index: 0, Count: 1 << 20}}, []*enr.Record{record(1, ours)}, Stats{}, []string{"--shard", "other_shard=1"},
		},
		"excluded bootnodes": {
			Config{Exclude: excludeAll, bootnodes: mainnet.Bootnodes}, nil, Stats{}, []string{"the exclude file covers all bootnodes", "records=0", "bootnodes_excluded="},
		},
		"excluded nodes": {
			Config{Exclude: excludeAll}, []*enr.Record{record(1, ours)}, Stats{}, []string{"--exclude", "excluded=1"},
		},
		"no eth2": {Config{}, []*enr.Record{{IP4: netip.MustParseAddr("1.2.3.4")}}, Stats{}, []string{"none is of a consensus node", "without_eth2=1"}},
		"only the bootnodes' own records": {
			Config{bootnodes: mainnet.Bootnodes}, recordsOf(t, mainnet.Bootnodes), Stats{},
			[]string{"no node records arrive except the configured ones of the bootnodes", "check the firewall for UDP", "records_of_bootnodes=" + strconv.Itoa(len(mainnet.Bootnodes))},
		},
		"nothing": {Config{bootnodes: mainnet.Bootnodes}, nil, Stats{}, []string{"no bootnode answers", "bootnodes_excluded=0"}},
		"due and not dialled": {
			Config{AllowPrivate: true}, []*enr.Record{record(1, ours)}, Stats{Queued: 2, Due: 1}, []string{"none of their nodes has been dialled yet", "records=1"},
		},
		"dials fail": {
			Config{AllowPrivate: true}, []*enr.Record{record(1, ours)}, Stats{Dialled: 4, Outcomes: map[string]uint64{"dial_timeout": 4}},
			[]string{"none has completed a handshake", "dialled=4", "dial_timeout:4"},
		},
	} {
		var log bytes.Buffer
		cfg := tt.cfg
		cfg.log = slog.New(slog.NewTextHandler(&log, nil))
		s := newSchedule(cfg.withDefaults(net.Name), forksOf(net), nil, &counters{})
		s.drought = newDrought(s.cfg, s.forks, now)
		for _, r := range tt.records {
			s.drought.observe(r, s.unfit(r, now))
		}
		s.drought.check(tt.stats, now.Add(10*time.Second))
		if log.Len() > 0 {
			t.Errorf("%s: warned too soon: %s", name, &log)
		}
		for range 3 {
			s.drought.check(tt.stats, now.Add(time.Minute))
		}
		if strings.Count(log.String(), "level=WARN") != 1 {
			t.Errorf("%s: %s: want one warning in a minute", name, &log)
		}
		for _, want := range tt.want {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: %s: want %q in it", name, &log, want)
			}
		}
		s.drought.check(tt.stats, now.Add(time.Hour))
		if strings.Count(log.String(), "level=WARN") != 2 {
			t.Errorf("%s: no second warning after an hour", name)
		}
	}
}

func recordsOf(t *testing.T, texts []string) (list []*enr.Record) {
	t.Helper()
	for _, text := range texts {
		r, err := enr.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, &r)
	}
	return list
}

// A sentry that was restarted has nothing to do until the next visits are due.
func TestNoDroughtWhileNothingIsDue(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	now := net.Clock.EpochStart(50)
	var log bytes.Buffer
	d := newDrought(Config{log: slog.New(slog.NewTextHandler(&log, nil))}, forksOf(net), now)
	d.observe(testRecord(net, "peer", 1, 9000), "")
	for i := range 5 {
		d.check(Stats{Queued: 3}, now.Add(time.Duration(i)*time.Minute))
	}
	if log.Len() > 0 {
		t.Errorf("warned: %s", &log)
	}
	if d.check(Stats{Queued: 3, Due: 3}, now.Add(6*time.Minute)); !strings.Contains(log.String(), notDialledYet) {
		t.Errorf("no warning once visits are due: %s", &log)
	}
}

// A handshake ends it for good.
func TestDroughtEnds(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	now := net.Clock.EpochStart(50)
	var log bytes.Buffer
	d := newDrought(Config{log: slog.New(slog.NewTextHandler(&log, nil))}, forksOf(net), now)
	d.check(Stats{Handshaked: 1}, now.Add(time.Minute))
	d.observe(testRecord(net, "peer", 1, 9000), unfitDigest)
	d.check(Stats{}, now.Add(time.Hour))
	if log.Len() > 0 || d.records != 0 {
		t.Errorf("%d records counted, log %s", d.records, &log)
	}
}

// When handshakes cease later, it says why too, from what has happened since; but not while
// a peer is watched, which may take long.
func TestDroughtAfterHandshakes(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	epoch := net.Clock.EpochDuration()
	for _, revisit := range []int{1, 10} {
		now := net.Clock.EpochStart(50)
		var log bytes.Buffer
		d := newDrought(Config{Revisit: revisit, log: slog.New(slog.NewTextHandler(&log, nil))}, forksOf(net), now)
		stats := Stats{Dialled: 10, Connected: 9, Outcomes: map[string]uint64{"ok": 10}}
		pass := func(epochs int, each func()) {
			for end := now.Add(time.Duration(epochs) * epoch); now.Before(end); now = now.Add(time.Minute) {
				each()
				if !d.over {
					d.observe(testRecordAt(eth2.ForkDigest{0xde, 0xad}, "peer", 1, 9000, 0), unfitDigest)
				}
				d.check(stats, now)
			}
		}
		pass(100, func() { stats.Handshaked++ })
		stats.Watching = 1
		pass(100, func() {})
		stats.Watching = 0
		pass(2*revisit-1, func() {})
		if log.Len() > 0 {
			t.Fatalf("revisit %d: %s: want no warning yet", revisit, &log)
		}
		pass(4*max(droughtAgain, 2*revisit), func() {})
		for _, want := range []string{"none is of our network and fork", "dialled=0", "their_digest=0xdead0000", "handshakes_before="} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("revisit %d: %s: want %q in it", revisit, &log, want)
			}
		}
		stats.Handshaked++
		pass(2, func() {})
		log.Reset()
		pass(max(1, 2*revisit-3), func() {})
		if log.Len() > 0 || !d.over {
			t.Errorf("revisit %d: %s: want no warning after a handshake", revisit, &log)
		}
		for range 4 * max(droughtAgain, 2*revisit) {
			now = now.Add(epoch)
			d.check(stats, now)
		}
		if !strings.Contains(log.String(), "handshakes have stopped, and no new node records arrive") {
			t.Errorf("revisit %d: %s: want to read that no records come", revisit, &log)
		}
	}
}
