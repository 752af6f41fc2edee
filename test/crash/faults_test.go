package main

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

// Some rounds of `make soak-faults`: of all kinds that take seconds.
func TestFaults(t *testing.T) {
	t.Parallel()
	t.Logf("-crash.seed %d", *seed)
	w := testWorldIn(t, filepath.Join(volumeName, plainName))
	w.rate, w.unusual, w.window = 300, true, 2*time.Second
	t.Cleanup(func() { _ = w.unmountAll() })
	kinds := faults()
	switch err := w.onDisks("256m"); {
	case errors.Is(err, errNoMounts):
		t.Log("without those of disks: ", err)
		kinds = slices.DeleteFunc(kinds, func(f fault) bool { return f.disks })
	case err != nil:
		t.Fatal(err)
	}
	const short = 6 * time.Second
	kinds = slices.DeleteFunc(kinds, func(f fault) bool {
		// The publisher takes 20 s to see that the broker does not store. What is lost with a
		// stream comes again after its duplicate window, which is of minutes in a new one.
		return f.lasts > short || slices.Contains([]string{"disk of the broker full", "stream removed", "store of the broker emptied"}, f.name)
	})
	random := rand.New(rand.NewPCG(*seed, 4))
	random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	v, err := faultRun{faults: kinds[:min(len(kinds), 5)], random: random}.in(t.Context(), w, func(r round) {
		t.Logf("%s: at work again after %.1f s %s", r.fault, r.recovered.Seconds(), r.said)
	})
	if err = errors.Join(err, v.sound()); err != nil {
		t.Error(err)
		t.Logf("%s", w.logged(t, storer))
	}
	if v.events == 0 || v.rejected == 0 {
		t.Errorf("%d events stored, %d rejected", v.events, v.rejected)
	}
}

// Two directories with one name are one dataset in two places: each event is in one of them.
func TestTwoDirectoriesWithOneName(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.begin(t, broker, sentry)
	first, second := w.data, filepath.Join(w.dir, "second")
	const named = "--name=" + durable
	begin := func(dir, log string, r role) {
		t.Helper()
		w.data = dir
		if err := w.newAddress(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		var err error
		if w.procs[r], err = w.startConsumer(t.Context(), log, w.address(r), named); err != nil {
			t.Fatal(err)
		}
	}
	begin(first, string(storer), storer)
	w.untilLogged(t, storer, 0, "consuming")
	w.untilPublished(t, testRate)
	begin(second, "second", standby)
	if _, err := w.awaitRefusal(t.Context(), standby, patience); err != nil {
		t.Fatal(err)
	}
	if err := w.procs[storer].stop(stopWithin); err != nil {
		t.Fatal(err)
	}
	w.procs[storer], w.ports[storer] = w.procs[standby], w.ports[standby]
	delete(w.procs, standby)
	if err := w.awaitRecovery(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	w.untilPublished(t, testRate)
	if err := w.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	told, err := published(w.published())
	if err != nil {
		t.Fatal(err)
	}
	var v verdict
	s := stored{verdict: &v, peers: w.peers, rows: map[uint64][]uint8{}, derived: map[uint64][]uint8{}}
	for boot, n := range told {
		s.rows[boot], s.derived[boot] = make([]uint8, n+2), make([]uint8, n+2)
	}
	for _, dir := range []string{first, second} {
		if err := s.scan(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		health, err := dataset.Check(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !health.Sound() || dir == second && health.Missing() == 0 {
			t.Errorf("%s: %+v", dir, health)
		}
	}
	s.compare(w, told)
	if err := v.sound(); err != nil || v.events == 0 {
		t.Errorf("%d events, %v\n%s", v.events, err, w.logged(t, storer))
	}
}

// A durable is removed, and the sentry's disk is full before the events that went with it
// are sent again: the spool keeps them.
func TestFullDiskBeforeTheRewind(t *testing.T) {
	t.Parallel()
	t.Logf("-crash.seed %d", *seed)
	w := testWorldIn(t, filepath.Join(volumeName, plainName))
	w.window = 15 * time.Second
	t.Cleanup(func() { _ = w.unmountAll() })
	if err := w.onDisks("256m"); errors.Is(err, errNoMounts) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	var order []fault
	for _, name := range []string{"durable removed", "disk of the sentry full"} {
		order = append(order, faults()[slices.IndexFunc(faults(), func(f fault) bool { return f.name == name })])
	}
	v, err := faultRun{faults: order, random: rand.New(rand.NewPCG(*seed, 5))}.in(t.Context(), w, func(r round) {
		t.Logf("%s: at work again after %.1f s %s", r.fault, r.recovered.Seconds(), r.said)
	})
	if err = errors.Join(err, v.sound()); err != nil || v.events == 0 {
		t.Errorf("%d events stored: %v\n%s", v.events, err, w.logged(t, sentry))
	}
}
