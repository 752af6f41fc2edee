package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/loglimit"
)

const (
	// streamMaxBytes limits the stream on the broker's disk: at the 600 bytes of a mean
	// event, 14 million events. A full stream refuses new events (they wait in the
	// sentry) and drops no old ones.
	streamMaxBytes = 8 << 30
	// streamMinBytes is the smallest limit that is tried where the broker has less room
	// than streamMaxBytes.
	streamMinBytes = 64 << 20
	// EmbeddedMinFree is the free disk space that an embedded server needs to create a stream of
	// that size: it uses at most three quarters of it.
	EmbeddedMinFree = 88 << 20
	// formingTries is how often in a row a cluster has to say that its servers have too
	// little room: for ten seconds.
	formingTries = 20
	// headerRoom is what a message has besides its event, in bytes: see event.MaxSize.
	headerRoom = 1024
	// dedupeWindow is how long the server remembers event keys. The consumer removes
	// later duplicates.
	dedupeWindow = 2 * time.Minute

	// Error codes of nats-server (server/errors.json) that nats.go does not name.
	codeClusterNoLeader      = 10008
	codeInsufficientResource = 10023
	codeSubjectOverlap       = 10065
	codeStorageExceeded      = 10047
	codeNoStorage            = 10028
	codeMaxBytesExceeded     = 10122 // the account's limit per stream
	codeMaxAckPending        = 10121
	codeNoCluster            = 10074 // more than one replica
	codeNoPeers              = 10005 // of the cluster, for so many replicas; also while it forms
)

// ErrForeignStream marks a stream that belongs to another application.
var ErrForeignStream = errors.New("the stream belongs to another application")

// ErrNoCluster marks a server that cannot keep as many replicas as are wanted.
var ErrNoCluster = errors.New("this server is not part of a cluster")

// errSubjectsTaken is an ErrForeignStream: events are in a stream of another name.
var errSubjectsTaken = fmt.Errorf("%w: another stream on the server has the events' subjects", ErrForeignStream)

// ensureStream creates the stream if it is missing. In one that exists it adds missing
// subjects and leaves every other setting as the operator has it. While the server does
// not answer it keeps trying until ctx ends.
func (c *Conn) ensureStream(ctx context.Context) (jetstream.Stream, error) {
	return c.awaitStream(ctx, c.tryEnsureStream)
}

// findStream is ensureStream for a consumer, which takes a stream that exists as it is:
// it may be a mirror, gather others, or be one that this user must not change.
func (c *Conn) findStream(ctx context.Context) (jetstream.Stream, error) {
	return c.awaitStream(ctx, c.tryFindStream)
}

func (c *Conn) awaitStream(ctx context.Context, try func(context.Context) (jetstream.Stream, error)) (jetstream.Stream, error) {
	limit := loglimit.Every(logPeriod)
	for {
		s, err := try(ctx)
		if err == nil {
			return s, nil
		}
		if missingJetStream(err) {
			return nil, c.noJetStream(err)
		}
		if !isTransient(err) {
			return nil, fmt.Errorf("stream %s at %s: %w", c.stream, c.url, err)
		}
		if limit.Allow() {
			c.warnRetry(err)
		}
		if !sleep(ctx, reconnectWait) {
			return nil, fmt.Errorf("stream %s at %s: %w (last: %w)", c.stream, c.url, ctx.Err(), err)
		}
	}
}

// CheckJetStream queries the server once whether this account may use JetStream, and
// whether the stream, if there is one, is for events. It changes nothing.
func (c *Conn) CheckJetStream(ctx context.Context) error {
	s, err := c.js.Stream(ctx, c.stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil
	case err == nil:
		return c.checkForeign(s)
	case missingJetStream(err):
		return c.noJetStream(err)
	}
	return fmt.Errorf("JetStream at %s: %w", c.url, err)
}

func missingJetStream(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) ||
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount)
}

func (c *Conn) noJetStream(err error) error {
	way := "start the server with -js, or give --nats-domain for the JetStream of another one, as behind a leaf node"
	if c.domain != "" {
		way = "check --nats-domain, which is " + c.domain
	}
	return fmt.Errorf("NATS at %s has no JetStream: %s: %w", c.url, way, err)
}

func (c *Conn) tryEnsureStream(ctx context.Context) (jetstream.Stream, error) {
	s, err := c.tryFindStream(ctx)
	if err != nil {
		return nil, err
	}
	return c.addSubjects(ctx, s)
}

func (c *Conn) tryFindStream(ctx context.Context) (jetstream.Stream, error) {
	s, err := c.js.Stream(ctx, c.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = c.createStream(ctx)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was first
			s, err = c.js.Stream(ctx, c.stream)
		}
	}
	if err != nil {
		return nil, err
	}
	c.checkReplicas(s)
	return s, c.checkForeign(s)
}

// checkReplicas warns, once, when an operator's stream has fewer replicas than wanted.
func (c *Conn) checkReplicas(s jetstream.Stream) {
	if cfg := s.CachedInfo().Config; cfg.Replicas < c.replicas && !c.fewReplicas.Swap(true) {
		c.log.Warn("the stream has fewer replicas than --stream-replicas and is left unchanged",
			slog.String("stream", cfg.Name), slog.Int("replicas", cfg.Replicas), slog.Int("wanted", c.replicas),
			slog.String("command", fmt.Sprintf("nats stream edit %s --replicas %d", cfg.Name, c.replicas)))
	}
}

func (c *Conn) checkForeign(s jetstream.Stream) error {
	cfg := s.CachedInfo().Config
	if !isForeign(cfg) {
		return nil
	}
	return fmt.Errorf("%w: %s holds %s and none of %s; give another name with --stream NAME, for sentries and consumers alike",
		ErrForeignStream, cfg.Name, strings.Join(cfg.Subjects, ", "), strings.Join(event.Subjects(), ", "))
}

// isForeign reports a stream that was made for other messages. One that has other
// subjects besides ours is an operator's choice, and one that copies other streams has
// the subjects of those.
func isForeign(cfg jetstream.StreamConfig) bool {
	return len(cfg.Subjects) > 0 && !copies(cfg) && len(uncovered(cfg.Subjects)) == len(event.Subjects())
}

// copies reports a mirror, or a stream with sources.
func copies(cfg jetstream.StreamConfig) bool { return cfg.Mirror != nil || len(cfg.Sources) > 0 }

// holdsOthers reports whether a stream may have messages that are no events.
func holdsOthers(cfg jetstream.StreamConfig) bool {
	ours := func(subject string) bool { return slices.Contains(event.Subjects(), subject) }
	return copies(cfg) || slices.ContainsFunc(cfg.Subjects, func(s string) bool { return !ours(s) })
}

func (c *Conn) createStream(ctx context.Context) (jetstream.Stream, error) {
	cfg := jetstream.StreamConfig{
		Name:        c.stream,
		Description: "Valtrack events, from sentries to consumers",
		Subjects:    event.Subjects(),
		Retention:   jetstream.InterestPolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    streamMaxBytes,
		MaxMsgSize:  event.MaxSize + headerRoom,
		Duplicates:  dedupeWindow,
		Replicas:    c.replicas,
	}
	for {
		s, err := c.js.CreateStream(ctx, cfg)
		if err == nil {
			c.created.Store(true)
			c.log.Info("created stream", slog.String("stream", cfg.Name), slog.Int64("max_bytes", cfg.MaxBytes), slog.Int("replicas", cfg.Replicas))
			return s, nil
		}
		if hasCode(err, codeSubjectOverlap) {
			return nil, c.taken(ctx)
		}
		if hasCode(err, codeNoCluster) {
			return nil, fmt.Errorf("%w of %d servers: start it with -cluster and -routes, or omit --stream-replicas", ErrNoCluster, cfg.Replicas)
		}
		if !c.noRoom(err) {
			return nil, err
		}
		if cfg.MaxBytes <= streamMinBytes {
			return nil, c.tooSmall(err)
		}
		cfg.MaxBytes /= 2
	}
}

// tooSmall is the error of a server whose store has no room for the smallest stream.
func (c *Conn) tooSmall(err error) error {
	if hasCode(err, codeNoPeers) { // warnRetry says it
		return err
	}
	if c.store == "" {
		return fmt.Errorf("its JetStream store has no room for a stream of %d MiB, which is the smallest: free disk space there, or raise the limits of the account or of max_file_store: %w", streamMinBytes>>20, err)
	}
	has := "too little"
	if free, freeErr := diskio.Free(c.store); freeErr == nil {
		has = fmt.Sprintf("%d MiB", free>>20)
	}
	return fmt.Errorf("the store in %s needs %d MiB of free disk space to begin with, and has %s: free some, or give another --data-dir: %w", c.store, EmbeddedMinFree>>20, has, err)
}

// noRoom reports that the stream was refused for its MaxBytes, which have to be free on disk. A
// cluster has one code for all reasons why it has no place for a stream. While it forms, a
// server of which it knows no sizes yet counts as full, so that this is believed only when it
// was the answer often enough: MaxBytes stay as they are once the stream exists.
func (c *Conn) noRoom(err error) bool {
	if !hasCode(err, codeNoPeers) || !strings.Contains(err.Error(), "insufficient storage") {
		c.refusedForRoom.Store(0)
		return hasCode(err, codeInsufficientResource, codeStorageExceeded, codeNoStorage, codeMaxBytesExceeded)
	}
	return c.refusedForRoom.Add(1) > formingTries
}

// warnRetry logs a transient error of a server that is connected: of one that is not, the
// connection's handlers say it.
func (c *Conn) warnRetry(err error) {
	if c.nc != nil && !c.nc.IsConnected() {
		return
	}
	if hasCode(err, codeNoPeers) {
		c.log.Warn("the cluster has no room for the stream, retrying", slog.String("url", c.url), slog.Any("error", err),
			slog.String("wanted", fmt.Sprintf("%d servers with JetStream, each with %d MiB free at least", c.replicas, streamMinBytes>>20)))
		return
	}
	c.log.Warn("JetStream does not respond, retrying", slog.String("url", c.url), slog.Any("error", err))
}

// taken is the error of a stream that cannot be created because another one on the server has
// its subjects.
func (c *Conn) taken(ctx context.Context) error {
	for _, subject := range event.Subjects() {
		if name, err := c.js.StreamNameBySubject(ctx, subject); err == nil {
			return fmt.Errorf("%w: %s has the events' subjects (%s), which no second stream can have; give --stream %s, or remove that stream if it is not needed",
				errSubjectsTaken, name, subject, name)
		}
	}
	return fmt.Errorf("%w: give the name of that stream with --stream", errSubjectsTaken)
}

func (c *Conn) addSubjects(ctx context.Context, s jetstream.Stream) (jetstream.Stream, error) {
	cfg := s.CachedInfo().Config
	missing := uncovered(cfg.Subjects)
	if len(missing) == 0 {
		return s, nil
	}
	if cfg.Mirror != nil {
		return nil, fmt.Errorf("it is a mirror of %s: publish to the server or domain that has that stream", cfg.Mirror.Name)
	}
	cfg.Subjects = append(slices.Clone(cfg.Subjects), missing...)
	c.log.Info("adding subjects to the stream", slog.String("stream", cfg.Name), slog.Any("subjects", missing))
	return c.js.UpdateStream(ctx, cfg)
}

// uncovered lists the subjects of events that fall under none of the patterns.
func uncovered(patterns []string) (missing []string) {
	for _, subject := range event.Subjects() {
		covered := func(pattern string) bool { return subjectMatches(pattern, subject) }
		if !slices.ContainsFunc(patterns, covered) {
			missing = append(missing, subject)
		}
	}
	return missing
}

// subjectMatches reports whether a literal subject falls under a pattern with
// NATS wildcards: * is one token, > is one or more at the end.
func subjectMatches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(p) == len(s)
}

// isTransient reports errors of a server that is unreachable or still electing a leader.
func isTransient(err error) bool {
	return errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrReconnectBufExceeded) ||
		errors.Is(err, nats.ErrNoServers) || hasCode(err, codeClusterNoLeader, codeNoPeers)
}

func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode)
}
