package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Defaults of Config.
const (
	// DefaultMaxConnections bounds sessions and dials together.
	DefaultMaxConnections = 1000
	// defaultDialTimeout is for one address: connect, security and muxer, which
	// over TCP take about four round trips.
	defaultDialTimeout = 5 * time.Second
	// defaultFirstByteTimeout is from opening a request's stream to the first byte
	// of its response, as clients do it (TTFB_TIMEOUT of earlier specs).
	defaultFirstByteTimeout = 5 * time.Second
	// defaultResponseTimeout is for a whole request (RESP_TIMEOUT of earlier specs).
	defaultResponseTimeout = 10 * time.Second
	// defaultHelloTimeout bounds Session.Hello.
	defaultHelloTimeout = 3 * time.Second
	// defaultHelloGap is the pause after which a hello that comes one topic per
	// RPC (rust-libp2p, so Lighthouse and Grandine) counts as whole.
	defaultHelloGap = 200 * time.Millisecond
)

// Local is what we say about ourselves. Its methods are called for every request
// and from many goroutines.
type Local interface {
	Status() eth2.Status
	MetaData() eth2.MetaData
}

// Config configures a Host. Durations that are zero take the defaults above; the
// unexported ones are shorter in tests.
type Config struct {
	Key      []byte       // secp256k1 scalar, 32 bytes, big endian
	Listen   []netip.Addr // empty: 0.0.0.0 and ::
	TCPPort  uint16       // 0: any free port
	QUICPort uint16       // UDP; 0: any free port
	Agent    string       // identify's agent version

	MaxConnections int  // sessions and dials together; 0: DefaultMaxConnections
	MaxInbound     int  // inbound connections, those in their handshake included; 0: MaxConnections
	AllowPrivate   bool // dial addresses that are not globally reachable too (enr.MayContact)

	Local Local
	// Inbound is called in its own goroutine for each inbound connection. Its
	// context ends with the host; the session is closed when it returns. When it
	// is nil inbound connections are refused.
	Inbound func(context.Context, *Session)

	dialTimeout      time.Duration
	FirstByteTimeout time.Duration
	responseTimeout  time.Duration
	HelloTimeout     time.Duration
	helloGap         time.Duration

	Log *slog.Logger // nil: nothing is logged
}

// withDefaults checks cfg and fills in what was left out.
func (cfg Config) withDefaults() (Config, error) {
	if len(cfg.Key) != 32 {
		return cfg, fmt.Errorf("identity key of %d bytes: want 32", len(cfg.Key))
	}
	if cfg.Local == nil {
		return cfg, errors.New("p2p.Config.Local is missing")
	}
	if cfg.MaxConnections < 0 {
		return cfg, fmt.Errorf("max connections %d is negative", cfg.MaxConnections)
	}
	if len(cfg.Listen) == 0 {
		cfg.Listen = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = DefaultMaxConnections
	}
	if cfg.MaxInbound <= 0 {
		cfg.MaxInbound = cfg.MaxConnections
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&cfg.dialTimeout, defaultDialTimeout},
		{&cfg.FirstByteTimeout, defaultFirstByteTimeout},
		{&cfg.responseTimeout, defaultResponseTimeout},
		{&cfg.HelloTimeout, defaultHelloTimeout},
		{&cfg.helloGap, defaultHelloGap},
	} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	return cfg, nil
}
