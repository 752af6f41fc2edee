package sentry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

func TestForksFollowTheClock(t *testing.T) {
	genesis := time.Unix(1_700_000_000, 0)
	net := testNetwork(t, genesis, 10)
	f := forksOf(net)
	before, after := net.Schedule.Periods[0].Digest, net.Schedule.Periods[1].Digest
	at := net.Clock.EpochStart(10)
	slot := net.Clock.SlotDuration
	tests := []struct {
		name                                 string
		now                                  time.Time
		current                              eth2.ForkDigest
		acceptsOld, acceptsNew               bool
		oursOld, oursNew, topicOld, topicNew bool
		blackout                             bool
	}{
		{"long before", genesis, before, true, false, true, true, true, false, false},
		{"three epochs before", net.Clock.EpochStart(7), before, true, false, true, true, true, true, false},
		{"a second before", at.Add(-time.Second), before, true, true, true, true, true, true, true},
		{"at the fork", at, after, true, true, true, true, true, true, true},
		{"a slot after", at.Add(slot), after, false, true, true, true, true, true, false},
		{"two epochs after", net.Clock.EpochStart(12), after, false, true, false, true, false, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := f.current(tt.now); got != tt.current {
				t.Errorf("current = %v, want %v", got, tt.current)
			}
			got := []bool{
				f.accepts(before, tt.now), f.accepts(after, tt.now), f.ours(before, tt.now), f.ours(after, tt.now),
				f.subscribed(before, tt.now), f.subscribed(after, tt.now),
			}
			want := []bool{tt.acceptsOld, tt.acceptsNew, tt.oursOld, tt.oursNew, tt.topicOld, tt.topicNew}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("accepts, ours, subscribed for old and new digest (-want +got):\n%s", diff)
			}
			until, blackout := f.dialBlackout(tt.now)
			if blackout != tt.blackout {
				t.Errorf("blackout = %v", blackout)
			}
			if blackout && !until.Equal(at.Add(slot/2)) {
				t.Errorf("blackout until %v, fork at %v", until, at)
			}
			stranger := eth2.ForkDigest{0xff}
			if f.accepts(stranger, tt.now) || f.ours(stranger, tt.now) || f.subscribed(stranger, tt.now) {
				t.Error("a stranger's digest counts")
			}
		})
	}
}

func TestStatusAndRecordSwitchAtTheFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testNetwork(t, time.Now(), 10)
		local := NewLocal(net)
		finder := newTestFinder()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { local.forks.follow(ctx, finder); close(done) }()

		before, after := net.Schedule.Periods[0].Digest, net.Schedule.Periods[1].Digest
		time.Sleep(10*net.Clock.EpochDuration() - time.Millisecond)
		synctest.Wait()
		if got := local.Status().ForkDigest; got != before {
			t.Errorf("just before the fork our Status has %v", got)
		}
		if diff := cmp.Diff([]eth2.ForkDigest{before}, finder.digests()); diff != "" {
			t.Errorf("record digests before the fork (-want +got):\n%s", diff)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := local.Status().ForkDigest; got != after {
			t.Errorf("at the fork our Status has %v", got)
		}
		if diff := cmp.Diff([]eth2.ForkDigest{before, after}, finder.digests()); diff != "" {
			t.Errorf("record digests at the fork (-want +got):\n%s", diff)
		}
		cancel()
		<-done
	})
}

func TestLocalClaimsNothing(t *testing.T) {
	local := NewLocal(testNetwork(t, time.Unix(1_700_000_000, 0), 0))
	status, metadata := local.Status(), local.MetaData()
	if status.HeadSlot != 0 || status.FinalizedEpoch != 0 || status.HeadRoot != (eth2.Root{}) || status.FinalizedRoot != (eth2.Root{}) {
		t.Errorf("status %+v is not zero", status)
	}
	if metadata.SeqNumber != 1 || metadata.Attnets.Count() != 0 || *metadata.Syncnets != 0 || *metadata.CustodyGroupCount != 4 {
		t.Errorf("metadata %+v", metadata)
	}
}
