package spool

import (
	"errors"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/event"

	"github.com/google/go-cmp/cmp"
)

// Events that consumers have stored are not sent again, the others are, wherever in a
// segment the border is, and in the next process too.
func TestRewindStopsAtWhatIsStored(t *testing.T) {
	for name, c := range map[string]struct {
		acks   []int    // how many events each acknowledgement is of
		stored []uint64 // of each Keep, which comes after the acknowledgement of that place
		first  int      // the first event that Rewind gives
	}{
		"nothing is known":              {[]int{5, 5}, []uint64{0, 0}, 1},
		"behind the acknowledgement":    {[]int{5, 5}, []uint64{0, 4}, 1},
		"up to the first":               {[]int{5, 5}, []uint64{0, 5}, 6},
		"at once":                       {[]int{5, 5}, []uint64{5, 10}, 11},
		"only the newest was seen":      {[]int{5, 5, 5}, []uint64{0, 0, 15}, 16},
		"between two that were seen":    {[]int{5, 5, 5}, []uint64{0, 0, 14}, 6},
		"everything, acknowledged late": {[]int{20}, []uint64{20}, 21},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openSpool(t, dir, 1)
			stopSyncLoop(s)
			fillSpool(t, s, 20)
			takeAll(t, s)
			number := uint64(0)
			for i, n := range c.acks {
				number += uint64(n)
				s.Ack(n, Mark{}, number)
				s.Keep(c.stored[i], 0)
			}
			want := keyRange(1, c.first, 20)
			for range 2 {
				if n := s.Rewind(true); n != len(want) || s.Stats().Events != n {
					t.Errorf("%d events, %d of them not acknowledged, want %d", n, s.Stats().Events, len(want))
				}
				if d := cmp.Diff(want, keysOf(takeAll(t, s))); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
			}
			closeSpool(t, s)
			again := openSpool(t, dir, 2)
			defer closeSpool(t, again)
			if d := cmp.Diff(want, keysOf(takeAll(t, again))); d != "" {
				t.Errorf("after a restart (-want +got):\n%s", d)
			}
		})
	}
}

// What an earlier process had acknowledged is freed as what this one has.
func TestStoredEventsOfEarlierProcesses(t *testing.T) {
	dir := t.TempDir()
	for boot := 1; boot <= 20; boot++ {
		s := openSpool(t, dir, boot)
		s.Ack(0, s.Mark(), uint64(10*boot))
		fillSpool(t, s, 10)
		taken := takeAll(t, s)
		s.Ack(len(taken), Mark{}, uint64(10*boot+10))
		s.Keep(uint64(10*boot), 0)
		s.tidy()
		if n := len(s.segments); n > 2 {
			t.Fatalf("start %d: %d segments are kept", boot, n)
		}
		closeSpool(t, s)
	}
}

// Each start knows the last event of the one before it, whether that was sent, stored or dropped.
func TestEndOfThePreviousBoot(t *testing.T) {
	dir, want := t.TempDir(), ""
	for boot := 1; boot <= 6; boot++ {
		s := openSpool(t, dir, boot)
		if got := s.PreviousBootEnd(); got != want {
			t.Errorf("boot %d: the one before ended with %q, want %q", boot, got, want)
		}
		n := 5 * boot
		if boot == 3 { // and a start that published nothing
			n = 0
		}
		fillSpool(t, s, n)
		if boot%2 == 0 {
			taken := takeAll(t, s)
			s.Ack(len(taken), Mark{}, 0)
			s.Keep(0, 0)
			s.tidy()
		}
		if n > 0 {
			want = event.Key{Sentry: "s", Boot: uint64(boot), Counter: uint64(n)}.String()
		}
		closeSpool(t, s)
	}
}

// A broker that restarts every 30 seconds does not fill the spool, whether consumers store
// or not; one that loses events does, as they have to be sent again.
func TestRestartsDoNotFillTheSpool(t *testing.T) {
	const period, rounds = 30 * time.Second, 40
	for name, c := range map[string]struct {
		stores, loses bool
		most          int // segments; each round adds one
	}{
		"consumers store":    {stores: true, most: 3},
		"nobody stores":      {most: 2*int(keepAcked/period) + 3},
		"the broker loses":   {loses: true, most: rounds + 1},
		"loses, what stored": {loses: true, stores: true, most: 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := openSpool(t, t.TempDir(), 1)
			stopSyncLoop(s)
			defer closeSpool(t, s)
			most, number := 0, uint64(0)
			for range rounds {
				fillSpool(t, s, 10)
				for range 2 { // the events of the round, and then again after the restart
					taken := takeAll(t, s)
					number += uint64(len(taken))
					s.Ack(len(taken), Mark{}, number)
					if c.stores {
						s.Keep(number, 0)
					}
					s.tidy()
					s.Rewind(c.loses)
				}
				s.segments[len(s.segments)-1].fsyncFailed = true // so that the next one begins
				most = max(most, len(s.segments))
				for _, seg := range s.segments { // time goes by
					if !seg.ackedAt.IsZero() {
						seg.ackedAt = seg.ackedAt.Add(-period)
					}
				}
			}
			if most > c.most || c.loses && !c.stores && most < rounds {
				t.Errorf("%d segments, want at most %d", most, c.most)
			}
		})
	}
}

// While writes fail and what is acknowledged will be sent again, new events are refused and
// counted: nothing that was accepted is lost.
func TestFullDiskKeepsWhatWillBeSentAgain(t *testing.T) {
	s := openSpool(t, t.TempDir(), 1)
	stopSyncLoop(s)
	good := s.cfg.Dir
	fillSpool(t, s, 10) // in a segment that is on the disk
	accepted, number := 10, uint64(0)
	publish := func(want error) (n int) {
		t.Helper()
		for ; n < 1000; n++ {
			if err := s.Publish(t.Context(), longVisit(100_000)); err != nil {
				if !errors.Is(err, want) {
					t.Fatal(err)
				}
				return n
			}
			taken := takeAll(t, s)
			number += uint64(len(taken))
			s.Ack(len(taken), Mark{}, number)
		}
		return n
	}
	s.segments[0].fsyncFailed, s.cfg.Dir = true, "/dev/null" // where no segment can be created
	s.Keep(0, untilRewound)
	accepted += publish(errFull)
	if s.flush() == nil || accepted < 20 || s.Stats().Dropped != 1 {
		t.Fatalf("%d events were accepted, %d dropped", accepted, s.Stats().Dropped)
	}
	if n := s.Rewind(true); n != accepted || len(takeAll(t, s)) != accepted {
		t.Errorf("%d events can be sent again, want %d", n, accepted)
	}
	s.Ack(accepted, Mark{}, number)
	s.Keep(0, 0) // they have been
	if n := publish(errFull); n < 1000 {
		t.Errorf("the memory of acknowledged events is not used again: only %d more", n)
	}
	s.cfg.Dir = good
	s.Rewind(true)
	takeAll(t, s)
	s.Ack(accepted+1000, Mark{}, number)
	_ = s.Close() // of what cannot be written and is acknowledged
}

// Over the size limit, what would have been sent again counts as dropped.
func TestDroppedBeforeItIsSentAgain(t *testing.T) {
	for _, due := range []bool{false, true} {
		s := openSpool(t, t.TempDir(), 1)
		stopSyncLoop(s)
		var keep time.Duration
		if due {
			keep = untilRewound
		}
		published := 0
		for ; s.segments == nil || s.segments[0].seq == 1; published++ {
			if err := s.Publish(t.Context(), longVisit(100_000)); err != nil {
				t.Fatal(err)
			}
			taken := takeAll(t, s)
			s.Ack(len(taken), Mark{}, 0)
			s.Keep(0, keep)
		}
		kept := s.Rewind(true)
		want := 0
		if due {
			want = published - kept
		}
		if got := int(s.Stats().Dropped); got != want {
			t.Errorf("rewind due %t: %d dropped, want %d: %d of %d are kept", due, got, want, kept, published)
		}
		takeAll(t, s)
		closeSpool(t, s)
	}
}
