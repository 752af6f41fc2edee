package soak

import (
	"context"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/eventlog"
	"github.com/chainbound/valtrack/internal/tracker"
)

// totalTolerance is by how much the total may be off from the validators of the honest nodes.
const totalTolerance = 0.15

// logSource delivers the events of a sentry's logs, and then ends the consumer's run.
type logSource struct {
	files   []string
	handle  func(context.Context, bus.Message)
	ended   context.CancelFunc
	skipped int // lines that are not events
}

// AckWait implements consumer.Source.
func (s *logSource) AckWait() time.Duration { return time.Hour }

// Run implements consumer.Source.
func (s *logSource) Run(ctx context.Context, handle func(context.Context, bus.Message)) error {
	defer s.ended()
	s.handle = handle
	_, err := eventlog.Replay(ctx, s, s.files, "", func(eventlog.BadLine) { s.skipped++ })
	return err
}

// Publish implements eventlog.Publisher.
func (s *logSource) Publish(ctx context.Context, e event.Encoded) error {
	s.handle(ctx, bus.Message{Subject: e.Subject, Key: e.Key, Data: e.Data, Seq: 1, Time: time.Now(), Delivery: unanswered{}})
	return nil
}

// unanswered is a delivery whose answers nobody wants.
type unanswered struct{}

func (unanswered) Ack() error              { return nil }
func (unanswered) Nak(time.Duration) error { return nil }
func (unanswered) Term() error             { return nil }

// store has a consumer store what a sentry logged, and returns the data directory and what
// the tracker makes of it.
func store(t *testing.T, d *devnet.Devnet, logs string) (dir string, state *tracker.State) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(logs, "*_events.log*"))
	if err != nil || len(files) < len(event.Subjects()) {
		t.Fatalf("logs of the sentry: %v, %v", files, err)
	}
	dir, log, net := t.TempDir(), slog.New(slog.DiscardHandler), d.Network()
	w, err := dataset.Open(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := tracker.Open(t.Context(), tracker.Config{Dir: dir, Network: net.Name, Log: log,
		Params: estimate.Params{Clock: net.Clock, Preset: net.Preset, ActiveValidators: devnet.DefaultActiveValidators}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	source := &logSource{files: files, ended: cancel}
	c, err := consumer.New(consumer.Config{Network: net.Name, GenesisValidatorsRoot: net.GenesisValidatorsRoot, Tracker: tr, Log: log}, w, source)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(ctx); err != nil {
		t.Fatal(err)
	}
	stats := c.Stats()
	t.Logf("stored %d events", stats.Stored)
	if stats.Stored == 0 || stats.Rejected > 0 || stats.Duplicates > 0 || source.skipped > 0 || missing(stats) > 0 || len(stats.ClockErrors) > 0 {
		t.Errorf("of the sentry's events: %+v, %d lines are not events", stats, source.skipped)
	}
	if err := tr.Recompute(t.Context()); err != nil {
		t.Fatal(err)
	}
	state = tr.State()
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, state
}

func missing(s consumer.Stats) (sum uint64) {
	for _, n := range s.Missing {
		sum += n
	}
	return sum
}

// checkTotal: the total is that of the honest nodes. A short run shows only that it can be
// computed.
func checkTotal(t *testing.T, d *devnet.Devnet, state *tracker.State, long bool) {
	t.Helper()
	truth := 0
	for _, n := range d.Truth().Nodes {
		if !n.Hostile {
			truth += n.Validators
		}
	}
	total := state.Totals()
	t.Logf("total %.0f [%.0f, %.0f], %.3f times the truth; %d concentrated nodes claim %.0f, of which %.0f count", total.Validators, total.Low, total.High,
		total.Validators/float64(truth), total.Concentrated, total.Claimed, total.Admitted)
	if off := math.Abs(total.Validators/float64(truth) - 1); long && !(off <= totalTolerance) || !(total.Validators > 0) {
		t.Errorf("the total is %.0f, that of the honest nodes %d: %.2f off, want at most %.2f", total.Validators, truth, off, totalTolerance)
	}
	if truth := float64(truth); long && (total.Low > truth || total.High < truth) {
		t.Errorf("the interval of the total, %.0f to %.0f, lacks that of the honest nodes, %.0f", total.Low, total.High, truth)
	}
}

// checkRows: no row of an honest node says what is not true of it.
func checkRows(t *testing.T, d *devnet.Devnet, dir string) {
	t.Helper()
	honest := map[string]devnet.Node{}
	for _, n := range d.Truth().Nodes {
		if !n.Hostile {
			honest[n.PeerID] = n
		}
	}
	rows, wrong := 0, 0
	check := func(n devnet.Node, what string, ok bool, row any) {
		if !ok {
			if wrong++; wrong <= 5 {
				t.Errorf("%s of node %d (%s, %s) is wrong: %+v", what, n.Index, n.Persona, n.Agent, row)
			}
		}
	}
	err := dataset.Scan(t.Context(), dir, dataset.Range{}, func(r dataset.MetadataRow) error {
		n, ok := honest[r.ID]
		if !ok {
			return nil
		}
		rows++
		check(n, "client_version", r.ClientVersion == n.Agent, r)
		check(n, "multiaddr", isOf(n, r.Multiaddr), r)
		check(n, "metadata", served(d, r), r)
		at := time.UnixMilli(r.Timestamp)
		check(n, "subscribed_subnets", !slices.ContainsFunc(r.SubscribedSubnets, func(subnet int32) bool { return !subscribed(d, r.ID, subnet, at) }), r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = dataset.Scan(t.Context(), dir, dataset.Range{}, func(r dataset.VisitRow) error {
		n, ok := honest[r.ID]
		if !ok {
			return nil
		}
		rows++
		if r.ClientVersion != nil {
			check(n, "client_version", *r.ClientVersion == n.Agent, r)
		}
		if r.Multiaddr != nil {
			check(n, "multiaddr", isOf(n, *r.Multiaddr), r)
		}
		if !r.More && r.Outcome != event.OutcomeCanceled {
			check(n, "outcome", slices.Contains(n.Outcomes, r.Outcome), r)
		}
		if r.Watch != nil {
			check(n, "watch", !slices.ContainsFunc(r.Watch.Changes, func(c dataset.SubnetChange) bool { return !changed(d, r, c) }), r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows of honest nodes, %d wrong", rows, wrong)
	if rows == 0 {
		t.Error("no row of an honest node")
	}
}

// isOf reports whether a node listens at the IP address of a row.
func isOf(n devnet.Node, multiaddr string) bool {
	ip := func(address string) string { return strings.Join(strings.SplitN(address, "/", 4)[:3], "/") }
	return slices.ContainsFunc(n.Multiaddrs, func(own string) bool { return ip(own) == ip(multiaddr) })
}

// served reports whether the node had the MetaData of a row at the time, or a moment before.
func served(d *devnet.Devnet, r dataset.MetadataRow) bool {
	at := time.UnixMilli(r.Timestamp)
	for _, before := range []time.Duration{0, time.Second, sightLag} {
		m, ok := d.Truth().MetaDataAt(r.ID, at.Add(-before))
		if ok && r.MetaData.Attnets == m.Attnets.String() && (r.MetaData.CustodyGroupCount == nil || *r.MetaData.CustodyGroupCount == *m.CustodyGroupCount) {
			return true
		}
	}
	return false
}

// sightLag is how long a change of a node may take until a sentry on a busy machine sees it.
const sightLag = 10 * time.Second

// subscribed reports whether a node was subscribed to a subnet at a time, or shortly before.
func subscribed(d *devnet.Devnet, id string, subnet int32, at time.Time) bool {
	return slices.Contains(d.Truth().SubnetsAt(id, at.Add(-sightLag)), int(subnet)) ||
		slices.ContainsFunc(d.Truth().Changes(id, at.Add(-sightLag), at.Add(time.Millisecond)), func(c devnet.SubscriptionChange) bool { return c.Subnet == int(subnet) && c.On })
}

// changed reports whether a change in a watch was made.
func changed(d *devnet.Devnet, r dataset.VisitRow, c dataset.SubnetChange) bool {
	at := time.UnixMilli(r.Watch.From + c.At)
	return slices.ContainsFunc(d.Truth().Changes(r.ID, at.Add(-sightLag), at.Add(time.Millisecond)), func(made devnet.SubscriptionChange) bool {
		return made.Subnet == int(c.Subnet) && made.On == c.Subscribed
	})
}
