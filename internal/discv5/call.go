package discv5

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"net/netip"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/chainbound/valtrack/internal/discv5/wire"
)

const (
	// responseTimeout is how long a packet of an answer may take, from when the request
	// was due to be sent or the packet before came: a round trip, and the wait for its
	// turn of the request and of the handshake after it.
	responseTimeout = 700*time.Millisecond + maxPacketDelay
	// answerTimeout bounds an answer of several packets. A node that paces its packets
	// as we do needs three seconds for maxAnswerPackets.
	answerTimeout = responseTimeout + 4*time.Second
)

var (
	errNoEndpoint = errors.New("the record has no UDP endpoint")
	errNoResponse = errors.New("no response in time")
)

// call is a request and the wait for its responses.
type call struct {
	node    *enode.Node
	to      netip.AddrPort
	request wire.Message
	nonce   wire.Nonce // of the last packet
	// repeated: the request was sent again, as a handshake. A second WHOAREYOU is ignored.
	repeated  chan struct{}
	responses chan wire.Message
	done      chan struct{}
}

func newRequestID() []byte {
	id := make([]byte, 8)
	_, _ = crand.Read(id) // never fails
	return id
}

// begin sends a request when the node has no other call. The caller must end the call.
func (t *transport) begin(ctx context.Context, n *enode.Node, request wire.Message) (*call, error) {
	to, ok := n.UDPEndpoint()
	if !ok {
		return nil, errNoEndpoint
	}
	c := &call{
		node: n, to: to, request: request,
		repeated: make(chan struct{}), done: make(chan struct{}),
		responses: make(chan wire.Message, maxAnswerPackets),
	}
	t.mu.Lock()
	for active := t.calls[n.ID()]; active != nil; active = t.calls[n.ID()] {
		t.mu.Unlock()
		select {
		case <-active.done:
		case <-t.closed:
			return nil, errClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		t.mu.Lock()
	}
	defer t.mu.Unlock()
	packet, nonce, err := t.codec.Encode(wire.Peer{ID: n.ID(), Addr: to}, request)
	if err != nil {
		return nil, err
	}
	t.calls[n.ID()] = c
	t.sendCall(c, packet, nonce)
	return c, nil
}

// sendCall sends a packet of a call. mu is held.
func (t *transport) sendCall(c *call, packet []byte, nonce wire.Nonce) {
	delete(t.byNonce, c.nonce)
	c.nonce = nonce
	t.byNonce[nonce] = c
	t.write(packet, c.to)
}

// end makes room for the next call of the node.
func (t *transport) end(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.calls, c.node.ID())
	delete(t.byNonce, c.nonce)
	close(c.done)
}

// repeat sends the request that the node could not decrypt as a handshake. mu is held.
func (t *transport) repeat(w *wire.Whoareyou, from netip.AddrPort) {
	c := t.byNonce[w.Nonce]
	if c == nil || c.to != from {
		return
	}
	select {
	case <-c.repeated:
		return
	default:
	}
	packet, nonce, err := t.codec.EncodeHandshake(c.node, c.to, w, c.request)
	if err != nil {
		return
	}
	close(c.repeated)
	t.sendCall(c, packet, nonce)
}

// deliver hands a response to its call. mu is held.
func (t *transport) deliver(from wire.Peer, m wire.Message) {
	c := t.calls[from.ID]
	if c == nil || c.to != from.Addr || !bytes.Equal(m.RequestID(), c.request.RequestID()) {
		return
	}
	select {
	case c.responses <- m:
	default: // more than an answer has
	}
}

// wait hands the responses over until one is the last.
func (c *call) wait(ctx context.Context, closed <-chan struct{}, isLast func(wire.Message) bool) error {
	next, whole := time.NewTimer(responseTimeout), time.NewTimer(answerTimeout)
	defer next.Stop()
	defer whole.Stop()
	repeated := c.repeated
	for {
		select {
		case m := <-c.responses:
			if isLast(m) {
				return nil
			}
			next.Reset(responseTimeout)
		case <-repeated:
			repeated = nil // heard of it
			next.Reset(responseTimeout)
		case <-next.C:
			return errNoResponse
		case <-whole.C:
			return errNoResponse
		case <-closed:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
