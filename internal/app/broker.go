package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/event"
)

const (
	// EmbeddedNATS as a URL runs the server in this process.
	EmbeddedNATS = "embedded"
	// DefaultNATS is the default server URL of a consumer and a replay.
	DefaultNATS = "nats://localhost:4222"
)

// EmbeddedStore is the directory of the embedded server's streams.
func EmbeddedStore(dataDir string) string { return filepath.Join(dataDir, "jetstream") }

// Broker is a connection to NATS and, where it is in this process, the server.
type Broker struct {
	conn     *bus.Conn
	embedded *bus.Embedded // nil for a server elsewhere
	log      *slog.Logger
	// stopWatch ends watchStream, and is nil without it.
	stopWatch func()
}

// OpenBroker connects to the server at url, or starts one in this process, with its
// store in the data directory, when url is EmbeddedNATS. It keeps trying until ctx
// ends, or in the background when opts say so. opts.URL and opts.InProcess are set
// here. Errors about the URL, the sign-in or the store are ConfigErrors.
func OpenBroker(ctx context.Context, url, dataDir string, opts bus.Options) (*Broker, error) {
	b := &Broker{log: opts.Log}
	opts.URL = url
	if url == EmbeddedNATS {
		server, err := bus.StartEmbedded(EmbeddedStore(dataDir), opts.Log)
		if err != nil {
			return nil, AsConfigError(err)
		}
		b.embedded, opts.InProcess = server, server
	}
	var err error
	if b.conn, err = bus.Connect(ctx, opts); err != nil {
		b.Close()
		if errors.Is(err, bus.ErrBadURL) || errors.Is(err, bus.ErrAccess) || errors.Is(err, bus.ErrRefused) {
			return nil, ConfigErrorf("--%s: %w", OptNATS, err)
		}
		return nil, err
	}
	return b, nil
}

// ForgetCommand is the command that deletes a durable from the connection's stream. A store
// in dataDir can be opened when nobody runs it.
func ForgetCommand(conn *bus.Conn, dataDir, durable string) string {
	command := fmt.Sprintf("valtrack consumer --%s %s --%s %s", OptForget, durable, OptNATS, conn.URL())
	if conn.URL() == EmbeddedNATS {
		command += fmt.Sprintf(" --%s %q", OptDataDir, dataDir)
	}
	if conn.Stream() != event.Stream {
		command += fmt.Sprintf(" --%s %s", OptStream, conn.Stream())
	}
	if conn.Domain() != "" {
		command += fmt.Sprintf(" --%s %s", OptNATSDomain, conn.Domain())
	}
	return command
}

// Conn is the connection.
func (b *Broker) Conn() *bus.Conn { return b.conn }

// notConnected is the reason why a service is not ready at first.
const notConnected = "not connected to NATS yet"

// errNeverConnected is why a sentry whose NATS was never there is not ready.
var errNeverConnected = errors.New(notConnected + ": events wait in the spool")

// Err is why an embedded server cannot store events; of a server elsewhere, that it has
// never been reached, or cannot be reached any more.
func (b *Broker) Err() error {
	switch {
	case b.embedded != nil:
		return b.embedded.Err()
	case !b.conn.Reached():
		return errNeverConnected
	}
	return b.conn.Lost()
}

// Close closes the connection and then the embedded server.
func (b *Broker) Close() {
	if b.stopWatch != nil {
		b.stopWatch()
	}
	if b.conn != nil {
		if err := b.conn.Close(); err != nil {
			b.log.Warn("close NATS connection", slog.Any("error", err))
		}
	}
	if b.embedded != nil {
		b.embedded.Close()
	}
}
