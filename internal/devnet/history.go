package devnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// history is the log of every subscription and MetaData change, in memory and,
// with a directory, in truth_subscriptions.ndjson and truth_metadata.ndjson.
// Safe for concurrent use.
type history struct {
	mu    sync.Mutex
	start int64 // Unix ms
	nodes []nodeHistory

	subscriptions, metadata *ndjson // nil without a directory
}

type nodeHistory struct {
	peerID   string
	initial  eth2.Attnets
	changes  []change
	metadata []metaDataSince
}

// change is eight bytes: long runs keep millions of them.
type change struct {
	after  uint32 // ms after the start
	subnet uint8
	on     bool
}

type metaDataSince struct {
	at int64 // Unix ms
	m  eth2.MetaData
}

func newHistory(peerIDs []string, subscriptions, metadata io.Writer) *history {
	h := &history{nodes: make([]nodeHistory, len(peerIDs)), subscriptions: newNDJSON(subscriptions), metadata: newNDJSON(metadata)}
	for i, id := range peerIDs {
		h.nodes[i].peerID = id
	}
	return h
}

type subscriptionLine struct {
	Time   int64  `json:"t"` // Unix ms
	PeerID string `json:"peer_id"`
	Subnet int    `json:"subnet"`
	On     bool   `json:"on"`
}

type metaDataLine struct {
	Time     int64         `json:"t"` // Unix ms
	PeerID   string        `json:"peer_id"`
	Seq      uint64        `json:"seq"`
	Attnets  eth2.Attnets  `json:"attnets"`
	Syncnets eth2.Syncnets `json:"syncnets"`
	CGC      uint64        `json:"cgc"`
}

// add makes room for one more node.
func (h *history) add(peerID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nodes = append(h.nodes, nodeHistory{peerID: peerID})
}

// begin sets the start: initial sets given to init from then on have its time.
func (h *history) begin(t time.Time) { h.start = t.UnixMilli() }

// init logs the set a node starts with.
func (h *history) init(node int, set eth2.Attnets) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := &h.nodes[node]
	n.initial = set
	for _, subnet := range set.Subnets() {
		if err := h.subscriptions.write(subscriptionLine{h.start, n.peerID, subnet, true}); err != nil {
			return err
		}
	}
	return nil
}

// record logs one change at t.
func (h *history) record(node int, t time.Time, subnet int, on bool) error {
	ms := t.UnixMilli()
	h.mu.Lock()
	defer h.mu.Unlock()
	n := &h.nodes[node]
	n.changes = append(n.changes, change{after: uint32(ms - h.start), subnet: uint8(subnet), on: on})
	return h.subscriptions.write(subscriptionLine{ms, n.peerID, subnet, on})
}

// recordMetaData logs the MetaData a node serves from t on.
func (h *history) recordMetaData(node int, t time.Time, m eth2.MetaData) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := &h.nodes[node]
	n.metadata = append(n.metadata, metaDataSince{t.UnixMilli(), m})
	return h.metadata.write(metaDataLine{t.UnixMilli(), n.peerID, m.SeqNumber, m.Attnets, *m.Syncnets, *m.CustodyGroupCount})
}

// flush hands everything written so far to the files.
func (h *history) flush() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(h.subscriptions.flush(), h.metadata.flush())
}

func (h *history) subnetsAt(node int, at time.Time) eth2.Attnets {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := &h.nodes[node]
	set := n.initial
	for _, c := range n.changes {
		if h.start+int64(c.after) > at.UnixMilli() {
			break
		}
		if c.on {
			set[c.subnet/8] |= 1 << (c.subnet % 8)
		} else {
			set[c.subnet/8] &^= 1 << (c.subnet % 8)
		}
	}
	return set
}

func (h *history) changes(node int, from, to time.Time) []SubscriptionChange {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []SubscriptionChange
	for _, c := range h.nodes[node].changes {
		ms := h.start + int64(c.after)
		if ms >= from.UnixMilli() && ms < to.UnixMilli() {
			out = append(out, SubscriptionChange{time.UnixMilli(ms), int(c.subnet), c.on})
		}
	}
	return out
}

func (h *history) metaDataAt(node int, at time.Time) eth2.MetaData {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.nodes[node].metadata
	for _, since := range slices.Backward(list) {
		if since.at <= at.UnixMilli() {
			return since.m
		}
	}
	if len(list) == 0 {
		return eth2.MetaData{}
	}
	return list[0].m
}

// maxUnwritten bounds what an ndjson keeps in memory while its file cannot be written: an
// hour of a hundred nodes, or more.
const maxUnwritten = 16 << 20

// ndjson writes one JSON value a line; a nil ndjson writes nothing. What cannot be written is
// kept for the next flush, even half a line; of what is more than maxUnwritten only the
// number of lines is kept, and becomes a line of its own.
type ndjson struct {
	w       io.Writer
	pending bytes.Buffer
	missing int
}

// missingLine stands in a file for lines that could not be written.
type missingLine struct {
	Missing int `json:"missing_lines"`
}

func newNDJSON(w io.Writer) *ndjson {
	if w == nil {
		return nil
	}
	return &ndjson{w: w}
}

func (w *ndjson) write(v any) error {
	if w == nil {
		return nil
	}
	if w.pending.Len() >= maxUnwritten {
		w.missing++
		return nil
	}
	if err := json.NewEncoder(&w.pending).Encode(v); err != nil {
		return fmt.Errorf("devnet truth: %w", err)
	}
	return nil
}

func (w *ndjson) flush() error {
	if w == nil || w.pending.Len() == 0 {
		return nil
	}
	n, err := w.w.Write(w.pending.Bytes())
	w.pending.Next(n)
	if err != nil {
		return fmt.Errorf("devnet truth: %w", err)
	}
	if w.missing > 0 {
		line := missingLine{w.missing}
		w.missing = 0
		return w.write(line)
	}
	return nil
}
