package sentry

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/prefix"
)

// crowd feeds an alarm with records of made-up nodes.
type crowd struct {
	*alarm
	net  network.Network
	log  *bytes.Buffer
	now  time.Time
	next uint64
}

// newCrowd has forks at epoch 0 (version 01000000) and 100 (02000000), and is at
// epoch 50.
func newCrowd(t *testing.T) *crowd {
	net := testNetwork(t, genesis, 100)
	log := &bytes.Buffer{}
	return &crowd{
		alarm: newAlarm(forksOf(net), slog.New(slog.NewTextHandler(log, nil))), net: net, log: log,
		now: net.Clock.EpochStart(50),
	}
}

func (c *crowd) id() (id eth2.NodeID) {
	c.next++
	binary.BigEndian.PutUint64(id[:], c.next)
	return id
}

// add brings n new nodes.
func (c *crowd) add(n int, e eth2.ENRForkID, nfd *eth2.ForkDigest, ours bool) {
	for range n {
		c.observe(&enr.Record{NodeID: c.id(), Eth2: &e, NFD: nfd}, 0, ours, c.now)
	}
}

func (c *crowd) healthy() (eth2.ENRForkID, *eth2.ForkDigest) {
	id, nfd := c.net.Schedule.ForkID(50)
	return id, &nfd
}

// tell lets time pass and gives the error lines.
func (c *crowd) tell() int {
	c.now = c.now.Add(c.bucket / 10)
	c.check(c.now)
	return strings.Count(c.log.String(), "level=ERROR")
}

var (
	unknown  = eth2.ForkDigest{0xee, 0xee, 0xee, 0xee}
	nothing  = eth2.FarFutureEpoch
	otherFam = eth2.Version{9, 9, 9, 9}
)

func TestOtherChainsRaiseNoAlarm(t *testing.T) {
	c := newCrowd(t)
	id, nfd := c.healthy()
	c.add(100, id, nfd, false)
	for i := range 3000 {
		var digest eth2.ForkDigest
		binary.BigEndian.PutUint32(digest[:], uint32(i%400)+1<<24)
		c.add(1, eth2.ENRForkID{ForkDigest: digest, NextForkVersion: otherFam, NextForkEpoch: nothing}, nil, false)
	}
	// Nodes that were left behind at an older fork of ours, and such that know of
	// our next one already.
	old := c.net.Schedule.Periods[1].Digest
	c.add(500, eth2.ENRForkID{ForkDigest: old, NextForkEpoch: nothing}, nil, true)
	if n := c.tell(); n != 0 || c.last.unknown != 0 {
		t.Errorf("%d alarms, share %v: %s", n, c.last.unknown, c.log)
	}
}

func TestANetworkThatMovedOnRaisesTheAlarm(t *testing.T) {
	id, nfd := newCrowd(t).healthy()
	for name, feed := range map[string]func(c *crowd){
		"nodes that had our digest": func(c *crowd) {
			c.add(30, eth2.ENRForkID{ForkDigest: unknown, NextForkVersion: otherFam, NextForkEpoch: nothing}, nil, true)
		},
		"announced by nodes on our digest": func(c *crowd) {
			c.add(5, id, &unknown, false)
			c.add(30, eth2.ENRForkID{ForkDigest: unknown, NextForkVersion: otherFam, NextForkEpoch: nothing}, nil, false)
		},
		"our next fork's epoch": func(c *crowd) {
			c.add(30, eth2.ENRForkID{ForkDigest: unknown, NextForkVersion: otherFam, NextForkEpoch: 100}, nil, false)
		},
		"our next digest": func(c *crowd) { c.add(30, eth2.ENRForkID{ForkDigest: unknown, NextForkVersion: otherFam}, nfd, false) },
		"versions like ours": func(c *crowd) {
			c.add(110, eth2.ENRForkID{ForkDigest: unknown, NextForkVersion: eth2.Version{3}, NextForkEpoch: nothing}, nil, false)
		},
	} {
		c := newCrowd(t)
		c.add(100, id, nfd, false)
		feed(c)
		if n := c.tell(); n != 1 || !strings.Contains(c.log.String(), unknown.String()) {
			t.Errorf("%s: %d alarms, share %v: %s", name, n, c.last.unknown, c.log)
		}
		if c.last.unknown < alarmFifth || c.last.unknown > 0.6 {
			t.Errorf("%s: share %v", name, c.last.unknown)
		}
		if n := c.tell(); n != 1 {
			t.Errorf("%s: the alarm is repeated at once", name)
		}
		// Their records grow old, and healthy ones come.
		for range 4 {
			c.now = c.now.Add(c.bucket)
			c.add(100, id, nfd, false)
			c.tell()
		}
		if !strings.Contains(c.log.String(), "fork digests match our schedule again") || c.last.unknown != 0 {
			t.Errorf("%s: not cleared, share %v: %s", name, c.last.unknown, c.log)
		}
	}
}

func TestAFewStrangersRaiseNoAlarm(t *testing.T) {
	c := newCrowd(t)
	id, nfd := c.healthy()
	c.add(100, id, nfd, false)
	c.add(10, eth2.ENRForkID{ForkDigest: unknown, NextForkEpoch: nothing}, nil, true)
	c.add(60, eth2.ENRForkID{ForkDigest: unknown, NextForkVersion: eth2.Version{3}, NextForkEpoch: nothing}, nil, false)
	if n := c.tell(); n != 0 {
		t.Errorf("%d alarms: %s", n, c.log)
	}
	few := newCrowd(t)
	few.add(alarmLeast-1, eth2.ENRForkID{ForkDigest: unknown, NextForkEpoch: nothing}, nil, true)
	if n := few.tell(); n != 0 {
		t.Errorf("%d alarms of %d nodes", n, alarmLeast-1)
	}
}

func TestUnknownAnnouncedForkIsLogged(t *testing.T) {
	c := newCrowd(t)
	id, nfd := c.healthy()
	c.add(70, id, nfd, false)
	c.add(30, id, &unknown, false)
	if n := c.tell(); n != 1 || !strings.Contains(c.log.String(), "announce a next fork") || !strings.Contains(c.log.String(), unknown.String()) {
		t.Errorf("%d alarms: %s", n, c.log)
	}
	if c.last.unknown != 0 || c.last.next != 0.3 {
		t.Errorf("shares %+v", c.last)
	}
}

func TestANodeCountsOnce(t *testing.T) {
	c := newCrowd(t)
	id, nfd := c.healthy()
	c.add(100, id, nfd, false)
	restless := enr.Record{NodeID: c.id(), Eth2: &eth2.ENRForkID{ForkDigest: unknown, NextForkEpoch: nothing}}
	for range 1000 {
		c.observe(&restless, 0, true, c.now)
	}
	if n := c.tell(); n != 0 || c.shares(c.now).nodes != 101 {
		t.Errorf("%d alarms, %d nodes", n, c.shares(c.now).nodes)
	}
}

// One node can send any number of records.
func TestOneNodeAnnouncesNoFork(t *testing.T) {
	c := newCrowd(t)
	id, nfd := c.healthy()
	c.add(100, id, nfd, false)
	liar := enr.Record{NodeID: c.id(), Eth2: &id, NFD: &unknown}
	for range 1000 {
		c.observe(&liar, 0, false, c.now)
	}
	c.add(100, eth2.ENRForkID{ForkDigest: unknown, NextForkVersion: otherFam, NextForkEpoch: nothing}, nil, false)
	if n := c.tell(); n != 0 || c.last.unknown != 0 {
		t.Errorf("%d alarms, share %v: %s", n, c.last.unknown, c.log)
	}
	c.add(announcers-1, id, &unknown, false) // it keeps no others out
	c.add(60, eth2.ENRForkID{ForkDigest: unknown, NextForkVersion: otherFam, NextForkEpoch: nothing}, nil, false)
	if n := c.tell(); n != 1 {
		t.Errorf("%d alarms once others announce it too, share %v", n, c.last.unknown)
	}
}

// Digests that few nodes announce give way to the one that many do, and announcements
// are forgotten.
func TestAnnouncementsAreBoundAndExpire(t *testing.T) {
	id, nfd := newCrowd(t).healthy()
	moved := eth2.ENRForkID{ForkDigest: unknown, NextForkVersion: otherFam, NextForkEpoch: nothing}
	for name, tt := range map[string]struct {
		after time.Duration // from the announcement to the records
		want  int           // alarms
	}{"at once": {0, 1}, "in the next bucket": {alarmBucket, 1}, "hours later": {5 * alarmBucket, 0}} {
		c := newCrowd(t)
		c.add(100, id, nfd, false)
		for i := range 10 * maxAnnounced {
			c.add(1, id, &eth2.ForkDigest{0xaa, byte(i >> 8), byte(i)}, false)
		}
		c.add(announcers, id, &unknown, false)
		for _, bucket := range c.announced {
			if len(bucket) > maxAnnounced {
				t.Errorf("%d digests are remembered", len(bucket))
			}
		}
		c.buckets[0] = map[prefix.Key]kind{} // the unaware are an alarm of their own
		for end := c.now.Add(tt.after); c.now.Before(end); {
			c.now = c.now.Add(c.bucket)
			c.rotate(c.now)
		}
		c.add(100, id, nfd, false)
		c.add(60, moved, nil, false)
		if n := c.tell(); n != tt.want {
			t.Errorf("%s: %d alarms, share %v: %s", name, n, c.last.unknown, c.log)
		}
	}
}

// A fork that was announced is not forgotten while nodes come over to it.
func TestAnAnnouncedForkStaysWhileItsRecordsCome(t *testing.T) {
	c := newCrowd(t)
	id, _ := c.healthy()
	c.add(announcers, id, &unknown, false)
	for range 10 {
		c.now = c.now.Add(c.bucket)
		c.add(30, eth2.ENRForkID{ForkDigest: unknown, NextForkVersion: otherFam, NextForkEpoch: nothing}, nil, false)
		if c.tell(); c.last.unknown < alarmFifth {
			t.Fatalf("share %v", c.last.unknown)
		}
	}
}
