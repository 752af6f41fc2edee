package tracker

import (
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// A node's client is what it told last, whatever came of the visit and in whatever order the events
// come.
func TestClientIsWhatWasToldLast(t *testing.T) {
	at := start.Add(time.Hour)
	handshake := func(minutes int, agent string) event.Event {
		return &event.MetadataReceived{Common: common(at.Add(time.Duration(minutes) * time.Minute)), ID: peerID(0), VisitID: "h",
			MetaData: &event.MetaData{}, ClientVersion: agent, Direction: event.Outbound, Multiaddr: "/ip4/192.0.2.1/tcp/9000"}
	}
	failed := func(minutes int, agent string) event.Event {
		began := at.Add(time.Duration(minutes) * time.Minute)
		return &event.VisitEnded{Common: common(began.Add(time.Second)), ID: peerID(0), VisitID: "f", Direction: event.Outbound,
			Started: began.UnixMilli(), Ended: began.Add(time.Second).UnixMilli(), Outcome: event.OutcomeStatus, ClientVersion: agent}
	}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   eth2.ClientKind
		told   int // minutes; -1 for never
	}{
		{"a handshake", []event.Event{handshake(0, prysm)}, "prysm", 0},
		{"never reached", []event.Event{failed(0, prysm)}, "prysm", 0},
		{"nothing told", []event.Event{failed(0, "")}, "", -1},
		{"a newer visit", []event.Event{handshake(0, prysm), failed(9, lighthouse)}, "lighthouse", 9},
		{"a newer visit that told nothing", []event.Event{handshake(0, prysm), failed(9, "")}, "prysm", 0},
		{"a newer handshake", []event.Event{failed(0, lighthouse), handshake(9, prysm)}, "prysm", 9},
		{"two visits", []event.Event{failed(0, lighthouse), failed(9, prysm)}, "prysm", 9},
		{"an older handshake of two", []event.Event{handshake(0, prysm), failed(5, lighthouse), handshake(9, prysm)}, "prysm", 9},
	} {
		for _, backwards := range []bool{false, true} {
			dir, now := t.TempDir(), at.Add(time.Hour)
			tr := opened(t, dir, &now)
			for i := range c.events {
				if backwards {
					i = len(c.events) - 1 - i
				}
				tr.Add(c.events[i])
				flush(t, tr, uint64(i))
			}
			tr.killed(t)
			read, err := Read(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			told := int64(0)
			if c.told >= 0 {
				told = at.Add(time.Duration(c.told) * time.Minute).UnixMilli()
			}
			if p := read.Peer(peerID(0)); p.Client.Kind != c.want || p.ToldClient() != told {
				t.Errorf("%s, backwards %v: %v told at %d, want %v at %d", c.name, backwards, p.Client, p.ToldClient(), c.want, told)
			}
		}
	}
}

// The epoch of the next fork is part of the record that is kept.
func TestRecordKeepsTheNextFork(t *testing.T) {
	dir, now := t.TempDir(), start.Add(time.Hour)
	tr := opened(t, dir, &now)
	version, epoch, nfd := eth2.Version{7}, eth2.FarFutureEpoch, eth2.ForkDigest{1}
	tr.Add(&event.PeerDiscovered{Common: common(now), ID: peerID(0), Seq: 1, NextForkVersion: &version, NextForkEpoch: &epoch, NFD: &nfd})
	flush(t, tr, 0)
	tr.killed(t)
	read, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if r := read.Peer(peerID(0)).Record; r.NextForkVersion == nil || *r.NextForkVersion != version || r.NextForkEpoch == nil || *r.NextForkEpoch != epoch || r.NFD == nil || *r.NFD != nfd {
		t.Errorf("%+v", r)
	}
}
