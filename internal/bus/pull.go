package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pullMessages is how many messages one request asks for, and pullRequests how many
	// requests the server has at a time, so that it can send on while a batch is handled.
	pullMessages = 2048
	pullRequests = 2
	// pullBytes bounds what one request may bring, and so what waits in memory for the
	// handler.
	pullBytes = 16 << 20
	// pullExpiry ends a request that is not fulfilled, and so bounds what a stop waits
	// for: a request that is withdrawn instead leaves the messages that are on their way
	// unanswered on the server. pullGrace is how much later it is given up as lost.
	pullExpiry, pullGrace = 500 * time.Millisecond, time.Second
	// maxLost is how many requests in a row may be lost, before the stream and the durable
	// are looked at again: they may have gone.
	maxLost = 2 * pullRequests
)

var errLost = errors.New("the server does not respond to requests for messages")

// puller requests messages of a durable (JetStream's pull protocol, NATS ADR-13) and
// knows when the server has answered every request completely, which the client
// library's Consume does not: after its Drain, messages that the server has counted as
// delivered may never arrive.
type puller struct {
	nc      *nats.Conn
	subject string // of requests
	inbox   string
	batch   int // messages per request
	body    []byte
	single  []byte // a request for one message of any size
	handle  func(*nats.Msg)
	sub     *nats.Subscription
	changed chan struct{} // receives a value when a request has ended

	mu       sync.Mutex
	requests []*pullRequest // not ended, oldest first, as the server fulfils them
	sent     int            // requests so far
	lost     int            // requests in a row that got no answer at all
	large    bool           // the next message is larger than pullBytes
	failed   error          // the first request that the server refused
}

type pullRequest struct {
	reply string
	left  int // messages
	until time.Time
}

func newPuller(c *Conn, durable string, batch, bytes int, handle func(*nats.Msg)) *puller {
	return &puller{
		nc: c.nc, subject: c.apiPrefix() + "CONSUMER.MSG.NEXT." + c.stream + "." + durable, inbox: c.nc.NewInbox() + ".", batch: batch,
		body:   fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d}`, batch, bytes, pullExpiry),
		single: fmt.Appendf(nil, `{"batch":1,"expires":%d}`, pullExpiry), handle: handle, changed: make(chan struct{}, 1),
	}
}

// run requests messages until ctx ends and then waits for those already requested. An
// error says that the server refused a request or cannot be reached; what was received
// until then has been handled. abandon ends it at once.
func (p *puller) run(ctx context.Context, abandon <-chan struct{}) (err error) {
	if p.sub, err = p.nc.Subscribe(p.inbox+"*", p.receive); err != nil {
		return fmt.Errorf("subscribe to deliveries: %w", err)
	}
	defer p.sub.Unsubscribe()                              //nolint:errcheck // if it fails, it ends with the connection
	if err := p.sub.SetPendingLimits(-1, -1); err != nil { // the requests limit them
		return err
	}
	tick := time.NewTicker(pullExpiry)
	defer tick.Stop()
	for {
		open, err := p.request(ctx.Err() != nil)
		if open == 0 && (err != nil || ctx.Err() != nil) {
			return err
		}
		select {
		case <-abandon:
			return err
		case <-p.changed:
		case <-tick.C:
		case <-ended(ctx):
		}
	}
}

// ended is ctx's end, once: nothing to wait for when it has been noticed.
func ended(ctx context.Context) <-chan struct{} {
	if ctx.Err() != nil {
		return nil
	}
	return ctx.Done()
}

// request, unless stopping, gives up lost requests and makes new ones. It returns the
// number of those that have not ended, and why there can be no more.
func (p *puller) request(stopping bool) (open int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// While the handler has messages to go, the end of a request may be behind them. And what a
	// busy server sends late nobody would answer after a stop, until AckWait: abandon bounds that.
	if waiting, _, err := p.sub.Pending(); !stopping && (err != nil || waiting == 0) {
		before := len(p.requests)
		p.requests = slices.DeleteFunc(p.requests, func(r *pullRequest) bool { return time.Now().After(r.until) })
		if p.lost += before - len(p.requests); p.lost >= maxLost && p.failed == nil {
			p.failed = errLost
		}
	}
	for len(p.requests) < pullRequests && !stopping && p.failed == nil {
		p.sent++
		r := &pullRequest{reply: p.inbox + strconv.Itoa(p.sent), left: p.batch, until: time.Now().Add(pullExpiry + pullGrace)}
		body := p.body
		if p.large {
			r.left, body, p.large = 1, p.single, false
		}
		if p.failed = p.nc.PublishRequest(p.subject, r.reply, body); p.failed == nil {
			p.requests = append(p.requests, r)
		}
	}
	return len(p.requests), p.failed
}

// receive is called by the client for each message.
func (p *puller) receive(m *nats.Msg) {
	if strings.HasPrefix(m.Subject, p.inbox) { // a status, not an event
		p.end(m.Subject, m.Header)
		return
	}
	p.handle(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = 0
	if len(p.requests) == 0 {
		return
	}
	r := p.requests[0]
	if r.left--; r.left == 0 {
		p.requests = p.requests[1:]
		notify(p.changed)
	}
}

// end removes the request of that reply subject and those before it.
func (p *puller) end(reply string, status nats.Header) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = 0
	for i, r := range p.requests {
		if r.reply == reply {
			p.large = r.left == p.batch && status.Get("Description") == exceedsBytes
			p.requests = p.requests[i+1:]
			break
		}
	}
	if p.failed == nil {
		p.failed = pullError(status)
	}
	notify(p.changed)
}

// exceedsBytes is the status of a request that may bring no more bytes.
const exceedsBytes = "Message Size Exceeds MaxBytes"

// pullError is nil for a request that ended as it should.
func pullError(h nats.Header) error {
	switch code, text := h.Get("Status"), h.Get("Description"); {
	case code == "408" || code == "404" || code == "100" || text == "Batch Completed" || text == exceedsBytes:
		return nil
	case code == "503":
		return nats.ErrNoResponders
	default:
		return fmt.Errorf("the server refused a request for messages: %s %s", code, text)
	}
}

// consume handles messages until ctx ends, or the durable cannot be consumed.
func (s *Subscription) consume(ctx context.Context, batch, bytes int, g *gate) error {
	in := inbox{nc: s.conn.nc, prefix: "$JS.ACK." + s.conn.stream + "." + s.opts.Durable + "."}
	p := newPuller(s.conn, s.opts.Durable, batch, bytes, func(m *nats.Msg) {
		s.received.Add(1)
		g.pass(in.message(m))
		s.handled.Add(1)
	})
	abandon := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrTaken) {
			close(abandon)
			return
		}
		time.AfterFunc(drainTimeout, g.giveBack)
		time.AfterFunc(drainTimeout+giveBackTimeout+s.opts.grace, func() { close(abandon) })
	})()
	if err := p.run(ctx, abandon); err != nil {
		return fmt.Errorf("consume %s: %w", s.opts.Durable, err)
	}
	return nil
}

// gate guards the handler of one Run. The client calls from its own goroutine, which Run
// may leave behind: shut waits for the call that is under way and lets no later one
// through.
type gate struct {
	state  atomic.Int32 // gateOpen, gateReturning or gateShut; only grows
	mu     sync.Mutex   // held while the handler runs
	handle func(Message)
	log    *slog.Logger
}

const (
	gateOpen int32 = iota
	gateReturning
	gateShut
)

func (g *gate) pass(m Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch g.state.Load() {
	case gateOpen:
		g.handle(m)
	case gateReturning:
		if err := m.Nak(0); err != nil {
			g.log.Debug("cannot acknowledge or reject a message", slog.Any("error", err))
		}
	}
}

// giveBack has later messages redelivered at once instead of handled.
func (g *gate) giveBack() { g.state.CompareAndSwap(gateOpen, gateReturning) }

// shut lets no message through any more, and waits for the handler.
func (g *gate) shut() {
	g.state.Store(gateShut)
	g.mu.Lock()
	g.mu.Unlock() //nolint:staticcheck // only waits
}
