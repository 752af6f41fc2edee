package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// number identifies an event permanently: the sentry's boot and the counter that its
// key has. Everything else of an event but its time follows from it.
type number struct{ boot, n uint64 }

// String is the visit id of an event.
func (i number) String() string { return fmt.Sprintf("%d-%d", i.boot, i.n) }

func parseNumber(visitID string) (number, error) {
	boot, n, _ := strings.Cut(visitID, "-")
	b, err1 := strconv.ParseUint(boot, 10, 64)
	c, err2 := strconv.ParseUint(n, 10, 64)
	if err1 != nil || err2 != nil {
		return number{}, fmt.Errorf("visit id %q is none that was published", visitID)
	}
	return number{b, c}, nil
}

// seqBits are those of a record's sequence number that count events.
const seqBits = 40

// seq is the record's sequence number in a peer_discovered, which has no visit id.
func (i number) seq() uint64 { return i.boot<<seqBits | i.n }

func numberOfSeq(seq uint64) number { return number{seq >> seqBits, seq & (1<<seqBits - 1)} }

// kind is an event's type: of eight, five are handshakes, two ended visits and one
// is a record.
type kind uint8

const (
	handshake kind = iota
	visit
	record
)

func (i number) kind() kind {
	switch {
	case i.n%8 < 5:
		return handshake
	case i.n%8 < 7:
		return visit
	}
	return record
}

// peer is the index of the event's peer.
func (i number) peer(peers int) int {
	return int((i.n*0x9e3779b97f4a7c15 + i.boot*0xbf58476d1ce4e5b9) >> 20 % uint64(peers))
}

// oddity is what is unusual about an event.
type oddity uint8

const (
	usual oddity = iota
	foreign
	early // a year ahead
	late  // a year behind
)

// otherTime is how far early and late events are from the present.
const otherTime = 365 * 24 * time.Hour

// oddity is that of a number, in a world with unusual events.
func (i number) oddity() oddity {
	switch i.n % 97 {
	case 31:
		return foreign
	case 61:
		return early
	case 91:
		return late
	}
	return usual
}

// maker makes a sentry's events.
type maker struct {
	peers   []event.MetadataReceived
	unusual bool
}

func newMaker(peers int) *maker {
	m := &maker{}
	for i := range peers {
		m.peers = append(m.peers, makePeer(i))
	}
	return m
}

func peerID(i int) string {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	return "16Uiu2HAm" + hex.EncodeToString(sum[:22])
}

// makePeer is as real ones are in what compression and dictionaries depend on: the
// record and the ids look random, the rest comes from small sets.
func makePeer(i int) event.MetadataReceived {
	agents := []string{
		"Lighthouse/v8.0.0-e3ee7fe/x86_64-linux", "Lighthouse/v7.1.0-cfb1f73/x86_64-linux", "Prysm/v7.0.0/2d1ac4c5ba2ba3d6b6d1c1e1d8ccda2c3b8b6a2e",
		"teku/teku/v25.11.0/linux-x86_64/-eclipseadoptium-openjdk64bitservervm-java-21", "nimbus", "js-libp2p/2.9.0", "Grandine/2.0.0-ec5bf93/x86_64-linux",
	}
	random := rand.New(rand.NewPCG(uint64(i), 1))
	enr := make([]byte, 196)
	for at := range enr {
		enr[at] = byte(random.Uint32())
	}
	var nodeID eth2.NodeID
	copy(nodeID[:], enr)
	subnets := eth2.ComputeSubscribedSubnets(nodeID, 0)
	custody, syncnets, columns, earliest := uint64(4), eth2.Syncnets(0), 8, eth2.Slot(0)
	return event.MetadataReceived{
		Common: event.Common{Network: network, CrawlerID: sentryName, CrawlerLocation: "here"},
		ENR:    "enr:-" + base64.RawURLEncoding.EncodeToString(enr), ID: peerID(i), NodeID: &nodeID,
		Multiaddr:         fmt.Sprintf("/ip4/%d.%d.%d.%d/tcp/9000", 1+random.IntN(222), random.IntN(256), random.IntN(256), random.IntN(256)),
		MetaData:          &event.MetaData{SeqNumber: 3, Attnets: eth2.NewAttnets(subnets), Syncnets: &syncnets, CustodyGroupCount: &custody},
		SubscribedSubnets: eth2.NewAttnets(append([]int{i % 64}, subnets...)).Subnets(), SyncSubnets: []int{},
		ClientVersion: agents[random.IntN(len(agents))], Direction: event.Outbound, Transport: event.TCP,
		ForkDigest: eth2.ForkDigest{0x8c, 0x9f, 0x62, 0xfe}, EarliestAvailableSlot: &earliest, ColumnSubnets: &columns,
	}
}

// next is the event of a number, at the present time. It is valid until the next
// call.
func (m *maker) next(i number, now time.Time) event.Event {
	peer := &m.peers[i.peer(len(m.peers))]
	common := peer.Common
	if m.unusual {
		switch i.oddity() {
		case foreign:
			common.Network = "elsewhere"
		case early:
			now = now.Add(otherTime)
		case late:
			now = now.Add(-otherTime)
		case usual:
		}
	}
	common.Timestamp = now.UnixMilli()
	switch i.kind() {
	case record:
		return &event.PeerDiscovered{Common: common, ENR: peer.ENR, ID: peer.ID, NodeID: *peer.NodeID, Seq: i.seq(), ForkDigest: &peer.ForkDigest}
	case visit:
		return &event.VisitEnded{
			Common: common, VisitID: i.String(), ID: peer.ID, Multiaddr: peer.Multiaddr, Direction: peer.Direction, Transport: peer.Transport,
			Started: common.Timestamp - 900, Ended: common.Timestamp, Outcome: event.OutcomeOK, ClientVersion: peer.ClientVersion,
		}
	case handshake:
	}
	e := *peer
	e.Common, e.VisitID = common, i.String()
	e.Epoch = eth2.Epoch(common.Timestamp / 384_000)
	return &e
}
