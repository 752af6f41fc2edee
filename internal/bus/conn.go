package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// dialTimeout bounds one attempt to connect, and so how long Connect goes on
	// after its context has ended.
	dialTimeout = 2 * time.Second
	// reconnectWait is the pause between two attempts. A broker's restart takes
	// seconds: waiting much longer than that only delays events.
	reconnectWait = 500 * time.Millisecond
	// pingInterval finds out that a server was cut off, twice that after it was: another of the
	// cluster may be reached.
	pingInterval = 20 * time.Second
	// tlsAttempts are made, tlsRetry apart, when the connection ends during the TLS
	// handshake: the server may have refused us, and its reason may have been lost with the
	// connection.
	tlsAttempts, tlsRetry = 4, 100 * time.Millisecond
	// logPeriod limits log lines about an ongoing problem.
	logPeriod = 5 * time.Second
	// lostAfter is how long a connection may be lost before that counts: reconnecting to
	// another server of a cluster is faster.
	lostAfter = 3 * time.Second
	// flushTimeout bounds the wait for the last acks to leave on Close.
	flushTimeout = 2 * time.Second
)

// Inboxes of Options by role. A process with both roles has none.
const (
	SentryInbox   = "sentry"
	ConsumerInbox = "consumer"
)

// Options selects the server: URL, or InProcess when it is not nil.
type Options struct {
	// URL of a server, nats://[user:password@]host:port; several of one cluster
	// are separated by commas.
	URL       string
	InProcess *Embedded
	Access
	// Name shows in the server's connection list.
	Name string
	// Inbox has the server's answers, and the events that a consumer fetches, come to subjects
	// below _INBOX and this name: a role that may subscribe to its own only cannot read along.
	// Empty for _INBOX itself.
	Inbox string
	// InBackground makes Connect return at once when the server cannot be reached;
	// the connection is made later.
	InBackground bool
	Log          *slog.Logger
}

// Conn is a connection to NATS that reconnects until it is closed. Its methods may be
// called from any goroutine. Close it.
type Conn struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	log    *slog.Logger
	url    string // without secrets
	stream string // the stream's name
	domain string // of JetStream; empty for the server's own
	store  string // the directory of an embedded server; else empty
	// replicas are Access.Replicas.
	replicas int
	// created is true once this connection has created the stream, and reached once it was
	// connected.
	created, reached atomic.Bool
	fewReplicas      atomic.Bool               // that was logged
	lost             atomic.Pointer[time.Time] // since when there is no connection any more; nil while there is one
	lostCause        atomic.Pointer[error]     // why the last attempt to connect again failed
	// refusedForRoom counts answers in a row of a cluster without room for the stream.
	refusedForRoom atomic.Int32
}

// Connect connects to the server. While the server cannot be reached it keeps
// trying and says so every few seconds, until ctx ends, or in the background. A
// URL that cannot be parsed (ErrBadURL) or a server that refuses us (ErrRefused) is an
// error at once.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	c := &Conn{log: o.Log, stream: cmp.Or(o.Stream, event.Stream), domain: o.Domain, replicas: max(1, o.Replicas)}
	var servers string
	if o.InProcess != nil {
		servers, c.url, c.domain, c.replicas = nats.DefaultURL, "embedded", "", 1 // the URL is not used
		c.store = o.InProcess.dir
	} else {
		var err error
		if servers, c.url, err = parseURLs(o.URL); err != nil {
			return nil, err
		}
	}
	nc, err := c.dial(ctx, servers, o)
	if err != nil {
		return nil, err
	}
	c.nc = nc
	if c.js, err = c.openJetStream(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream at %s: %w", c.url, err)
	}
	if nc.IsConnected() { // else the handlers do
		c.onConnected()
	}
	return c, nil
}

// onConnected is called at the first connection, by whoever notices it.
func (c *Conn) onConnected() {
	c.lost.Store(nil)
	if !c.reached.Swap(true) {
		c.log.Info("connected to NATS", slog.String("url", c.url))
	}
}

// Reached reports whether there was a connection at any time.
func (c *Conn) Reached() bool { return c.reached.Load() }

// Lost is nil unless a connection that was there has been lost for seconds.
func (c *Conn) Lost() error {
	if since := c.lost.Load(); since != nil && time.Since(*since) >= lostAfter {
		err := fmt.Errorf("%w: the connection was lost %v ago", c.unreachable(), time.Since(*since).Round(time.Second))
		if cause := c.lostCause.Load(); cause != nil {
			err = fmt.Errorf("%w: %w", err, *cause)
		}
		return err
	}
	return nil
}

// unreachable is the error of a server without a connection.
func (c *Conn) unreachable() error { return fmt.Errorf("cannot reach NATS at %s", c.url) }

// Responds reports whether the server and its JetStream answer within ctx, if only with an
// error.
func (c *Conn) Responds(ctx context.Context) bool {
	return c.nc.IsConnected() && !isTransient(c.CheckJetStream(ctx))
}

func (c *Conn) openJetStream(opts ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	if c.domain == "" {
		return jetstream.New(c.nc, opts...)
	}
	return jetstream.NewWithDomain(c.nc, c.domain, opts...)
}

// apiPrefix begins the subjects of JetStream's API.
func (c *Conn) apiPrefix() string {
	if c.domain == "" {
		return jetstream.DefaultAPIPrefix
	}
	return "$JS." + c.domain + ".API."
}

// dial retries until it succeeds, ctx ends, or a retry is pointless.
func (c *Conn) dial(ctx context.Context, servers string, o Options) (*nats.Conn, error) {
	var opts []nats.Option
	if o.InProcess == nil { // which asks for no sign-in
		var err error
		if opts, err = o.options(); err != nil {
			return nil, err
		}
	}
	opts = append(opts, c.options(o)...)
	limit := loglimit.Every(logPeriod)
	for attempt := 1; ; attempt++ {
		nc, err := nats.Connect(servers, opts...)
		if err == nil {
			return nc, nil
		}
		if err := refused(err); err != nil {
			return nil, fmt.Errorf("connect to NATS at %s: %w", c.url, err)
		}
		if errors.Is(err, nats.ErrTLS) && attempt < tlsAttempts && sleep(ctx, tlsRetry) {
			continue
		}
		if o.InBackground {
			o.InBackground = false
			opts = append(opts, nats.RetryOnFailedConnect(true)) // a failed first attempt is not an error
			continue
		}
		if limit.Allow() {
			c.log.Warn("cannot reach NATS, retrying", slog.String("url", c.url), slog.Any("error", err))
		}
		if !sleep(ctx, reconnectWait) {
			return nil, fmt.Errorf("connect to NATS at %s: %w (last: %w)", c.url, ctx.Err(), err)
		}
	}
}

func (c *Conn) options(o Options) []nats.Option {
	limit := loglimit.Every(logPeriod)
	asyncErrors := loglimit.Every(waitingLogPeriod) // such as a refused subject, several a second
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.PingInterval(pingInterval),
		// No hidden buffer: what is published while disconnected fails, and the
		// Publisher sends it again.
		nats.ReconnectBufSize(-1),
		// Credentials that are refused for a while, as when they are rotated, must not end
		// the connection.
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if c.lost.CompareAndSwap(nil, new(time.Now())) {
				c.lostCause.Store(nil)
			}
			if err != nil {
				c.log.Warn("lost connection to NATS", slog.String("url", c.url), slog.Any("error", err))
			}
		}),
		nats.ConnectHandler(func(*nats.Conn) { c.onConnected() }),
		nats.ReconnectHandler(func(*nats.Conn) {
			c.lost.Store(nil)
			c.lostCause.Store(nil)
			c.log.Info("reconnected to NATS", slog.String("url", c.url))
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			c.lostCause.Store(&err)
			if limit.Allow() {
				c.log.Warn("cannot reach NATS, retrying", slog.String("url", c.url), slog.Any("error", err))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if refused(err) != nil { // not given to the handler above
				c.lostCause.Store(&err)
			}
			if asyncErrors.Allow() {
				c.log.Warn("NATS error", slog.String("url", c.url), slog.Any("error", err))
			}
		}),
	}
	if o.Inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(strings.TrimSuffix(nats.InboxPrefix, ".")+"."+o.Inbox))
	}
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	}
	return opts
}

// URL is the server's address without secrets, "embedded" for one in this process.
func (c *Conn) URL() string { return c.url }

// Stream is the name of the stream.
func (c *Conn) Stream() string { return c.stream }

// Domain is the JetStream domain of the stream; empty for the server's own.
func (c *Conn) Domain() string { return c.domain }

// Close sends what is buffered, acks among it, and closes the connection.
func (c *Conn) Close() error {
	defer c.nc.Close()
	if !c.nc.IsConnected() {
		return nil
	}
	if err := c.nc.FlushTimeout(flushTimeout); err != nil {
		return fmt.Errorf("flush to NATS at %s: %w", c.url, err)
	}
	return nil
}

// serverRun identifies one run of the connected server, by a hash of its id: a
// nats-server that was restarted has a new one.
func (c *Conn) serverRun() uint64 {
	h := fnv.New64a()
	h.Write([]byte(c.nc.ConnectedServerId()))
	return h.Sum64()
}

// sleep waits for d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
