package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
)

// checkTimeout bounds the wait for a NATS server to answer.
const checkTimeout = 5 * time.Second

// Flags of the use of a NATS server.
const (
	flagStream     = app.OptStream
	flagNATSDomain = app.OptNATSDomain
	flagReplicas   = "stream-replicas"
	flagNATSCreds  = "nats-creds"
	flagNATSNKey   = "nats-nkey"
	flagNATSCert   = "nats-cert"
	flagNATSKey    = "nats-key"
	flagNATSCA     = "nats-ca"
)

// natsFlags are on every command that connects to NATS.
func natsFlags() []cli.Flag {
	return []cli.Flag{
		text(flagStream, event.Stream, "name of the JetStream stream; the same for sentries and consumers"),
		number(flagReplicas, 1, "number of replicas of the stream when it is created: 3 for a cluster of three"),
		text(flagNATSDomain, "", "JetStream domain of the stream"),
		text(flagNATSCreds, "", "file with a user's JWT and seed, to sign in to NATS"),
		text(flagNATSNKey, "", "file with an nkey seed, to sign in to NATS"),
		text(flagNATSCert, "", "PEM file of a client certificate for NATS, with --nats-key"),
		text(flagNATSKey, "", "PEM file of the client certificate's key"),
		text(flagNATSCA, "", "PEM file of the CAs to trust for NATS instead of the system's"),
	}
}

// natsAccess checks these flags. Errors are of wrong usage.
func (in invocation) natsAccess() (bus.Access, error) {
	a := bus.Access{
		Stream: in.cmd.String(flagStream), Domain: in.cmd.String(flagNATSDomain), Replicas: in.cmd.Int(flagReplicas),
		Creds: in.cmd.String(flagNATSCreds), NKey: in.cmd.String(flagNATSNKey),
		Cert: in.cmd.String(flagNATSCert), Key: in.cmd.String(flagNATSKey), CA: in.cmd.String(flagNATSCA),
	}
	if err := a.Check(); err != nil {
		return a, usagef("--%s, --%s, --%s, --%s, --%s, --%s, --%s, --%s: %w",
			flagStream, flagReplicas, flagNATSDomain, flagNATSCreds, flagNATSNKey, flagNATSCert, flagNATSKey, flagNATSCA, err)
	}
	return a, nil
}

// dialNATS connects once, to look or to change one thing, with the role's inbox.
func (in invocation) dialNATS(ctx context.Context, url, role string) (*bus.Conn, error) {
	access, err := in.natsAccess()
	if err != nil {
		return nil, err
	}
	conn, err := bus.Connect(ctx, bus.Options{URL: url, Access: access, Name: in.cmd.FullName(), Inbox: inboxOf(role), Log: slog.New(slog.DiscardHandler)})
	switch {
	case errors.Is(err, bus.ErrBadURL), errors.Is(err, bus.ErrRefused):
		return nil, usagef("--%s: %w", flagNATS, err)
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("--%s: no answer within %v: %w", flagNATS, checkTimeout, err)
	case err != nil:
		return nil, fmt.Errorf("--%s: %w", flagNATS, err)
	}
	return conn, nil
}

func inboxOf(role string) string {
	switch role {
	case roleSentry:
		return bus.SentryInbox
	case roleConsumer:
		return bus.ConsumerInbox
	}
	return ""
}

// wayOut says what to do about denied permissions. One to create or change the stream is not given
// to sentries by contrib/nats/nats.conf, since others can do it.
func wayOut(denied []string) string {
	others := slices.ContainsFunc(denied, func(what string) bool {
		return !strings.Contains(what, ".STREAM.CREATE.") && !strings.Contains(what, ".STREAM.UPDATE.")
	})
	switch {
	case others:
		return "contrib/nats/nats.conf has what each role needs"
	case slices.ContainsFunc(denied, func(what string) bool { return strings.Contains(what, ".STREAM.CREATE.") }):
		return "there is no stream yet: start a consumer first, which creates it"
	}
	return "the stream lacks subjects of this version: have them added by a user who may, with 'nats stream edit --subjects " + strings.Join(event.Subjects(), ",") + "'"
}

// roomForStore is an error when the disk has no room for a new store of an embedded server.
func roomForStore(store string) error {
	if _, err := os.Stat(store); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := store
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	free, err := diskio.Free(dir)
	if err == nil && free < bus.EmbeddedMinFree {
		return fmt.Errorf("the store in %s needs %d MiB of free disk space to begin with, and there are %d MiB: free some, or give another --%s", store, bus.EmbeddedMinFree>>20, free>>20, flagDataDir)
	}
	return err
}

func (in invocation) checkNATS(ctx context.Context) (string, error) {
	url, role := in.cmd.String(flagNATS), in.cmd.String(flagRole)
	if role == roleConsumer {
		url = cmp.Or(url, app.DefaultNATS)
	}
	switch url {
	case "":
		_, err := in.natsAccess()
		if role == roleSentry {
			return "not given: events go to log files in --" + flagDataDir, err
		}
		return "not given: sentry writes log files, run embeds a server, consumer uses " + app.DefaultNATS, err
	case app.EmbeddedNATS:
		_, err := in.natsAccess()
		if err == nil {
			err = roomForStore(app.EmbeddedStore(in.cmd.String(flagDataDir)))
		}
		return "embedded, store in " + app.EmbeddedStore(in.cmd.String(flagDataDir)), err
	}
	dialling, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := in.dialNATS(dialling, url, role)
	if err != nil {
		return "", fmt.Errorf("%w; start the NATS server there, or give another with --%s", err, flagNATS)
	}
	defer conn.Close()
	durable := app.KnownDurable(in.cmd.String(flagName), in.cmd.String(flagDataDir))
	denied, err := conn.Denied(ctx, bus.Uses{Publishes: in.checks(roleSentry), Consumes: in.checks(roleConsumer), Durable: durable})
	if len(denied) > 0 {
		return "", fmt.Errorf("--%s: the server does not let this user %s; %s", flagNATS, strings.Join(denied, ", "), wayOut(denied))
	}
	ctx, cancel = context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if cause := conn.CheckJetStream(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		if errors.Is(err, bus.ErrForeignStream) {
			return "", usagef("--%s: %w", flagStream, err)
		}
		return "", fmt.Errorf("--%s: %w", flagNATS, err)
	}
	state, err := conn.State(ctx)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flagNATS, err)
	}
	const detail = "connected, JetStream answers, permissions suffice"
	warning := detail
	if len(state.Drops) > 0 {
		warning += fmt.Sprintf("; stream %s drops events before consumers have stored them: change its %s", conn.Stream(), strings.Join(state.Drops, ", "))
	}
	for _, d := range state.Unread {
		if d.Name == durable {
			continue
		}
		warning += fmt.Sprintf("; no process reads durable %s (%s): start its consumer, or delete it with '%s'", d.Name, d, app.ForgetCommand(conn, in.cmd.String(flagDataDir), d.Name))
	}
	if warning == detail {
		return detail, nil
	}
	return "", checkWarning(warning)
}

// forget deletes a durable from the stream.
func (in invocation) forget(ctx context.Context, durable string) error {
	if strings.ContainsAny(durable, notInNames) {
		return usagef("--%s %q: want a name without spaces, dots, slashes, * or >", flagForget, durable)
	}
	conn, done, err := in.openNATS(ctx, cmp.Or(in.cmd.String(flagNATS), app.DefaultNATS))
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	switch err := conn.Forget(ctx, durable); {
	case errors.Is(err, bus.ErrNoDurable), errors.Is(err, bus.ErrInUse):
		return usagef("--%s: %w", flagForget, err)
	case err != nil:
		return fmt.Errorf("--%s: %w", flagForget, err)
	}
	_, err = fmt.Fprintf(in.stdout, "deleted durable %s\n", durable)
	return err
}

// openNATS is dialNATS, also for the store of an embedded server that nobody runs.
func (in invocation) openNATS(ctx context.Context, url string) (conn *bus.Conn, done func(), err error) {
	if url != app.EmbeddedNATS {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		conn, err := in.dialNATS(ctx, url, roleConsumer)
		if err != nil {
			return nil, nil, err
		}
		return conn, func() { conn.Close() }, nil
	}
	dir := in.cmd.String(flagDataDir)
	if _, err := os.Stat(app.EmbeddedStore(dir)); err != nil {
		return nil, nil, usagef("--%s %q has no stream: %w", flagDataDir, dir, err)
	}
	access, err := in.natsAccess()
	if err != nil {
		return nil, nil, err
	}
	b, err := app.OpenBroker(ctx, url, dir, bus.Options{Access: access, Name: in.cmd.FullName(), Log: slog.New(slog.DiscardHandler)})
	var locked *diskio.LockedError
	switch {
	case errors.As(err, &locked):
		return nil, nil, usagef("--%s %s: %w: stop it first", flagNATS, url, err)
	case err != nil:
		return nil, nil, err
	}
	return b.Conn(), b.Close, nil
}
