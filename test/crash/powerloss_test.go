package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

// A power cut after any of a consumer's writes, in which everything that was not synced is
// lost, or any part of it: the next start finds each event once or not at all, and all that
// the broker was told is stored.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	t.Logf("-crash.seed %d", *seed)
	w := testWorld(t)
	w.rate, w.peers = 40, 5
	trace := filepath.Join(w.dir, "trace")
	valtrack := w.valtrack
	w.valtrack = program{path: strace, env: valtrack.env, args: []string{
		"-D", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "4194304", "-e", "trace=" + tracedCalls, "-e", "signal=none", "-o", trace, valtrack.path,
	}}
	w.begin(t, broker, storer)
	w.untilLogged(t, storer, 0, "consuming")
	w.begin(t, sentry)
	w.untilLogged(t, storer, 0, "merged parts")
	w.untilPublished(t, 30)
	w.valtrack = valtrack
	w.end(t)
	m := newTraced(w.data, consumerID)
	told, err := published(w.published())
	if err != nil {
		t.Fatal(err)
	}
	m.first = told[1]
	random, cuts, seen := rand.New(rand.NewPCG(*seed, 5)), 0, 0
	dir := t.TempDir()
	err = m.each(trace, func() error {
		if m.syncs == seen {
			return nil
		}
		seen = m.syncs
		for _, luck := range []*rand.Rand{nil, random} {
			cuts++
			if err := m.cut(t.Context(), filepath.Join(dir, fmt.Sprint(cuts)), luck, w.boot); err != nil {
				return fmt.Errorf("cut %d, after sync %d: %w", cuts, m.syncs, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if cuts < 100 || len(m.acked) < 30 {
		t.Errorf("%d cuts and %d acknowledgements: the trace is not understood", cuts, len(m.acked))
	}
	t.Logf("%d power cuts, %d events acknowledged", cuts, len(m.acked))
}

// newTraced is a data directory that has only a consumer's id.
func newTraced(root, id string) *traced {
	m := &traced{root: root, tree: newDir(), open: map[int]*handle{}, acked: map[uint64]bool{}}
	content := []byte(id + "\n")
	m.tree.names["consumer_id"] = &inode{data: content, synced: content}
	m.tree.durable["consumer_id"] = m.tree.names["consumer_id"]
	return m
}

// cut has a writer start on what survives now, and looks at the rows.
func (t *traced) cut(ctx context.Context, dir string, luck *rand.Rand, lastBoot uint64) error {
	if err := t.survivors(dir, luck); err != nil {
		return err
	}
	writer, err := dataset.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	var v verdict
	s := stored{verdict: &v, peers: 5, rows: map[uint64][]uint8{}, derived: map[uint64][]uint8{}}
	for boot := range lastBoot {
		s.rows[boot+1], s.derived[boot+1] = make([]uint8, 1<<16), make([]uint8, 1<<16)
	}
	if err := s.scan(ctx, dir); err != nil {
		return err
	}
	s.compare(&world{}, nil)
	err = v.sound()
	// The first sentry's events are the first of the stream, in their order.
	for sequence := range t.acked {
		if first := s.rows[1]; sequence <= t.first && first[sequence] == 0 {
			err = errors.Join(err, fmt.Errorf("event %d was acknowledged, and is not stored", sequence))
		}
	}
	health, checkErr := dataset.Check(ctx, dir, nil)
	if checkErr == nil && !health.Sound() {
		err = errors.Join(err, fmt.Errorf("check: %+v", health))
	}
	if err = errors.Join(err, checkErr); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
