package p2p

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds on a peer's gossip RPCs.
const (
	// maxRPCSize is the largest RPC that is read, in bytes, and so what a peer can make us
	// hold that never ends one. Clients' subscription lists have about 20 KB; we are in no
	// mesh, so no messages come.
	maxRPCSize = 128 << 10
	// maxRPCSubscriptions bounds one RPC. A node on every topic of two digests
	// names about 420.
	maxRPCSubscriptions = 4096
	// maxTopicLength bounds a topic name, in bytes. The consensus specs' longest
	// are under 64.
	maxTopicLength = 256
)

// Field numbers of the gossipsub RPC (libp2p specs pubsub/README.md, "The RPC").
const (
	fieldRPCSubscriptions protowire.Number = 1
	fieldSubOptsSubscribe protowire.Number = 1
	fieldSubOptsTopicID   protowire.Number = 2
)

// Subscription is one entry of an RPC's subscriptions.
type Subscription struct {
	Subscribe bool // false: the peer left the topic
	Topic     string
}

// readRPC reads one varint-delimited gossip RPC of at most limit bytes and gives
// its subscriptions in order; everything else in it is skipped. io.EOF says that
// the stream ended between two RPCs. Entries without a topic, with one that is
// longer than 256 bytes or is not UTF-8 are left out.
func readRPC(r *bufio.Reader, limit int) ([]Subscription, error) {
	size, err := binary.ReadUvarint(r)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		return nil, fmt.Errorf("read RPC length: %w", err)
	}
	if size > uint64(limit) {
		return nil, fmt.Errorf("%w: RPC of %d bytes, at most %d allowed", errMalformed, size, limit)
	}
	if int(size) <= r.Size() {
		// The usual case: decode in place.
		b, err := r.Peek(int(size))
		if err != nil {
			return nil, truncatedRPC(err)
		}
		subs, err := decodeRPC(b)
		if err != nil {
			return nil, err
		}
		_, err = r.Discard(int(size))
		return subs, err
	}
	b, err := readGrowing(r, int(size))
	if err != nil {
		return nil, truncatedRPC(err)
	}
	return decodeRPC(b)
}

// readGrowing reads n bytes without trusting n: memory follows what arrives.
func readGrowing(r io.Reader, n int) ([]byte, error) {
	const step = 64 << 10
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		want := min(n-len(b), max(step, len(b)))
		b = append(b, make([]byte, want)...)
		if _, err := io.ReadFull(r, b[len(b)-want:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func truncatedRPC(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: truncated RPC", errMalformed)
	}
	return fmt.Errorf("read RPC: %w", err)
}

// decodeRPC parses the protobuf message by hand: topics are copied, nothing else
// is kept.
func decodeRPC(b []byte) ([]Subscription, error) {
	var subs []Subscription
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, badRPC(n)
		}
		b = b[n:]
		if num != fieldRPCSubscriptions || kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, kind, b); n < 0 {
				return nil, badRPC(n)
			}
			b = b[n:]
			continue
		}
		entry, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return nil, badRPC(n)
		}
		b = b[n:]
		if len(subs) == maxRPCSubscriptions {
			return nil, fmt.Errorf("%w: RPC with more than %d subscriptions", errMalformed, maxRPCSubscriptions)
		}
		sub, err := decodeSubscription(entry)
		if err != nil {
			return nil, err
		}
		if sub.Topic != "" {
			subs = append(subs, sub)
		}
	}
	return subs, nil
}

// decodeSubscription gives an empty topic for an entry to leave out. As in any
// protobuf message the last value of a repeated field counts.
func decodeSubscription(b []byte) (sub Subscription, err error) {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return sub, badRPC(n)
		}
		b = b[n:]
		switch {
		case num == fieldSubOptsSubscribe && kind == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			sub.Subscribe = protowire.DecodeBool(v)
		case num == fieldSubOptsTopicID && kind == protowire.BytesType:
			var topic []byte
			topic, n = protowire.ConsumeBytes(b)
			sub.Topic = ""
			if len(topic) <= maxTopicLength && utf8.Valid(topic) {
				sub.Topic = string(topic)
			}
		default:
			n = protowire.ConsumeFieldValue(num, kind, b)
		}
		if n < 0 {
			return sub, badRPC(n)
		}
		b = b[n:]
	}
	return sub, nil
}

func badRPC(n int) error {
	return fmt.Errorf("%w: RPC: %w", errMalformed, protowire.ParseError(n))
}
