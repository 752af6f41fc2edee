package app

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/tracker"
)

// idleSource is a source of a consumer that does not run.
type idleSource struct{ consumer.Source }

func (idleSource) AckWait() time.Duration { return time.Hour }

// The API answers from the tracker of the half that is open now, and writes to the data directory
// only while that is this process's.
func TestAPIReadsFromTheOpenHalf(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	net, err := network.Load("sepolia")
	if err != nil {
		t.Fatal(err)
	}
	open := func() (*storage, *tracker.Tracker) {
		t.Helper()
		dir := t.TempDir()
		w, err := dataset.Open(dir, log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		tr, err := tracker.Open(t.Context(), tracker.Config{
			Dir: dir, Network: net.Name, Log: log, Params: estimate.Params{Clock: net.Clock, Preset: eth2.MainnetPreset(), ActiveValidators: 1000},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tr.Close() })
		c, err := consumer.New(consumer.Config{Tracker: tr, Log: log, Network: net.Name}, w, idleSource{})
		if err != nil {
			t.Fatal(err)
		}
		return &storage{consumer: c}, tr
	}
	places, err := geo.Open(nil, log)
	if err != nil {
		t.Fatal(err)
	}
	var current *storage
	var moved error
	h := &httpServer{}
	h.source(ConsumerConfig{Network: net}, places, func() error { return moved }, func() *storage { return current })
	if h.sources.State() != nil || h.sources.Own() {
		t.Error("something without a half")
	}
	for i := range 2 {
		s, tr := open()
		current = s
		if h.sources.State() != tr.State() || !h.sources.Own() {
			t.Errorf("half %d is not read from", i)
		}
	}
	if moved = errors.New("moved"); h.sources.Own() {
		t.Error("it would write to another directory")
	}
}
