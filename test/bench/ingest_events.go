package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

const (
	// ingestPeers is about the size of mainnet's reachable part.
	ingestPeers = 10_000
	// epochMS is an epoch of mainnet in milliseconds.
	epochMS = 384_000
	// firstEpoch and its beginning, Unix milliseconds, are some time on mainnet.
	firstEpoch, firstEpochAt = 408_000, 1763496023000
)

// peerEvents makes what a crawl publishes: every peer is visited once an epoch, in
// random order, and each visit is a metadata_received and a visit_ended; before the first
// comes the peer_discovered. With onlyHandshakes there are no others than
// metadata_received, of which the consumer makes most: two wide rows.
type peerEvents struct {
	onlyHandshakes bool

	random *rand.Rand
	peers  []event.MetadataReceived
	found  []bool // has been discovered
	order  []int  // of the peers in the present epoch; the next one is last
	after  []event.Event
	epoch  eth2.Epoch
	boot   uint64
}

func newPeerEvents(peers int, onlyHandshakes bool) *peerEvents {
	h := &peerEvents{onlyHandshakes: onlyHandshakes, random: rand.New(rand.NewPCG(1, 2)), epoch: firstEpoch, found: make([]bool, peers)}
	for i := range peers {
		h.peers = append(h.peers, h.peer(i))
	}
	return h
}

// peer is as real ones are in what compression and dictionaries depend on: the
// record and the ids are random, the rest comes from small sets.
func (h *peerEvents) peer(i int) event.MetadataReceived {
	agents := []string{
		"Lighthouse/v8.0.0-e3ee7fe/x86_64-linux", "Lighthouse/v7.1.0-cfb1f73/x86_64-linux", "Lighthouse/v8.0.1-ced49dd/aarch64-linux",
		"Prysm/v7.0.0/2d1ac4c5ba2ba3d6b6d1c1e1d8ccda2c3b8b6a2e", "teku/teku/v25.11.0/linux-x86_64/-eclipseadoptium-openjdk64bitservervm-java-21",
		"nimbus", "js-libp2p/2.9.0", "lodestar/v1.36.0/15a6ad0", "Grandine/2.0.0-ec5bf93/x86_64-linux", "erigon/caplin",
	}
	nodeID := eth2.NodeID(h.bytes(32))
	expected := eth2.ComputeSubscribedSubnets(nodeID, firstEpoch)
	subnets := expected
	if h.random.IntN(4) == 0 { // has validators on duty
		subnets = eth2.NewAttnets(append([]int{h.random.IntN(64)}, expected...)).Subnets()
	}
	custody, syncnets, columns, earliest := uint64(4), eth2.Syncnets(0), 8, eth2.Slot(0)
	if h.random.IntN(5) == 0 {
		custody, columns = 128, 128
	}
	return event.MetadataReceived{
		Common:            event.Common{Network: "mainnet", CrawlerID: "sentry-1", CrawlerLocation: "fra1"},
		ENR:               "enr:-" + base64.RawURLEncoding.EncodeToString(h.bytes(190+h.random.IntN(14))),
		ID:                "16Uiu2HAm" + hex.EncodeToString(h.bytes(22)),
		NodeID:            &nodeID,
		Multiaddr:         fmt.Sprintf("/ip4/%d.%d.%d.%d/tcp/%d", 1+h.random.IntN(222), h.random.IntN(256), h.random.IntN(256), h.random.IntN(256), 9000+i%10),
		MetaData:          &event.MetaData{SeqNumber: uint64(h.random.IntN(200)), Attnets: eth2.NewAttnets(expected), Syncnets: &syncnets, CustodyGroupCount: &custody},
		SubscribedSubnets: subnets, SyncSubnets: []int{},
		ClientVersion: agents[h.random.IntN(len(agents))],
		Direction:     event.Outbound, Transport: event.TCP,
		ForkDigest: eth2.ForkDigest{0x8c, 0x9f, 0x62, 0xfe}, EarliestAvailableSlot: &earliest, ColumnSubnets: &columns,
	}
}

func (h *peerEvents) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(h.random.Uint32())
	}
	return b
}

// next is the next event; it is valid until the next call.
func (h *peerEvents) next() event.Event {
	if len(h.after) > 0 {
		e := h.after[0]
		h.after = h.after[1:]
		return e
	}
	if len(h.order) == 0 {
		h.order = h.random.Perm(len(h.peers))
		h.epoch++
	}
	i := h.order[len(h.order)-1]
	e := &h.peers[i]
	h.order = h.order[:len(h.order)-1]
	into := int64(len(h.peers)-len(h.order)) * epochMS / int64(len(h.peers))
	e.Timestamp = firstEpochAt + int64(h.epoch-firstEpoch)*epochMS + into
	e.Epoch, e.FinalizedEpoch = h.epoch, h.epoch-2
	e.HeadSlot = eth2.Slot(h.epoch)*32 + eth2.Slot(into/12_000)
	e.VisitID = hex.EncodeToString(h.bytes(13)) // as long as a sentry makes it
	if h.onlyHandshakes {
		return e
	}
	took := 100 + h.random.Int64N(400)
	end := &event.VisitEnded{
		Common: e.Common, VisitID: e.VisitID, ID: e.ID, Multiaddr: e.Multiaddr, Direction: e.Direction, Transport: e.Transport,
		Started: e.Timestamp - took, Ended: e.Timestamp + took, Outcome: event.OutcomeOK, ClientVersion: e.ClientVersion, HandshakeMS: &took,
	}
	end.Timestamp = end.Ended
	h.after = []event.Event{e, end}
	if !h.found[i] {
		h.found[i] = true
		return h.discovered(e)
	}
	return h.next()
}

// discovered is the record of a peer.
func (h *peerEvents) discovered(m *event.MetadataReceived) *event.PeerDiscovered {
	parts := strings.Split(m.Multiaddr, "/")
	port, _ := strconv.ParseUint(parts[4], 10, 16) // made above
	return &event.PeerDiscovered{
		Common: m.Common, ENR: m.ENR, ID: m.ID, NodeID: *m.NodeID, Seq: uint64(h.random.IntN(200)), IP: parts[2], Port: uint16(port), UDP: uint16(port),
		ForkDigest: &m.ForkDigest, Attnets: &m.MetaData.Attnets, Syncnets: m.MetaData.Syncnets, CustodyGroupCount: m.MetaData.CustodyGroupCount,
	}
}

// meanSize is the mean size of a run's first events in bytes.
func (h *peerEvents) meanSize() (sum int) {
	h = newPeerEvents(len(h.peers), h.onlyHandshakes)
	const first = 1_000_000
	for range first {
		data, err := event.Encode(h.next())
		if err != nil {
			panic(err) // an event that we made
		}
		sum += len(data)
	}
	return sum / first
}

// publish publishes the next n events, each after the prefix, and waits until the
// broker has them. The keys are those of a sentry after one more restart.
func (h *peerEvents) publish(ctx context.Context, conn *bus.Conn, n int, prefix string) error {
	h.boot++
	clear(h.found) // a sentry publishes each record once after its start
	p, err := bus.NewDirectPublisher(ctx, conn)
	if err != nil {
		return err
	}
	for i := range n {
		e := h.next()
		data, err := event.Encode(e)
		if err != nil {
			return errors.Join(err, p.Close(ctx))
		}
		data = append([]byte(prefix), data...)
		key := "bench-" + strconv.FormatUint(h.boot, 10) + "-" + strconv.Itoa(i+1)
		if err := p.Publish(ctx, event.Encoded{Subject: e.Subject(), Key: key, Data: data}); err != nil {
			return errors.Join(err, p.Close(ctx))
		}
	}
	return p.Close(ctx)
}
