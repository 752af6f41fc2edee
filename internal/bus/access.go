package bus

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// ErrBadURL marks a NATS address that can never work.
var ErrBadURL = errors.New("bad NATS URL")

// Access says which stream of a server to use and how to sign in, besides what the URL
// says. Empty fields are not used.
type Access struct {
	// Stream is the stream's name, event.Stream when empty. Domain is the JetStream domain
	// that has it.
	Stream, Domain string
	// Replicas is how many servers of a cluster keep the stream, if we create it: 1 for 0.
	Replicas int
	// Creds is a file with a user's JWT and seed, NKey one with a seed alone.
	Creds, NKey string
	// Cert and Key are files of a client certificate, CA of the authorities that are
	// trusted instead of the system's. All are PEM.
	Cert, Key, CA string
}

// maxReplicas is what nats-server allows.
const maxReplicas = 5

// ErrAccess marks names that JetStream does not take, and files to sign in with that cannot
// be used.
var ErrAccess = errors.New("bad NATS option")

// Check reads the files and reports names that JetStream does not take. Its errors are
// ErrAccess.
func (a Access) Check() error {
	for what, name := range map[string]string{"stream": a.Stream, "domain": a.Domain} {
		if strings.ContainsAny(name, " \t\r\n.*>/\\") {
			return fmt.Errorf("%w: %s %q: want a name without spaces, dots, slashes, * or >", ErrAccess, what, name)
		}
	}
	if a.Replicas < 0 || a.Replicas > maxReplicas {
		return fmt.Errorf("%w: %d replicas of the stream: want 1 to %d, 3 for a cluster of three servers", ErrAccess, a.Replicas, maxReplicas)
	}
	if (a.Cert == "") != (a.Key == "") {
		return fmt.Errorf("%w: a client certificate needs both its certificate and its key", ErrAccess)
	}
	if a.Creds != "" && a.NKey != "" {
		return fmt.Errorf("%w: want a creds file or an nkey seed, not both", ErrAccess)
	}
	if a.Creds != "" {
		text, err := os.ReadFile(a.Creds)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrAccess, err)
		}
		if _, err := nkeys.ParseDecoratedUserNKey(text); err != nil { // its errors do not quote the text
			return fmt.Errorf("%w: %s is not a creds file: %w", ErrAccess, a.Creds, err)
		}
	}
	_, err := a.options()
	return err
}

// options read the files, except that of Creds, which is read at each sign-in.
func (a Access) options() (opts []nats.Option, err error) {
	if a.Creds != "" {
		opts = append(opts, nats.UserCredentials(a.Creds))
	}
	if a.NKey != "" {
		o, err := nats.NkeyOptionFromSeed(a.NKey)
		if err != nil {
			return nil, fmt.Errorf("%w: %s holds no nkey seed: %w", ErrAccess, a.NKey, err)
		}
		opts = append(opts, o)
	}
	if a.Cert != "" {
		opts = append(opts, nats.ClientCert(a.Cert, a.Key))
	}
	if a.CA != "" {
		opts = append(opts, nats.RootCAs(a.CA))
	}
	var probe nats.Options
	for _, o := range opts { // reads certificates
		if err := o(&probe); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAccess, err)
		}
	}
	return opts, nil
}

// redacted is the address without what may be secret: a user without a password is a
// token or a seed.
func redacted(u *url.URL) string {
	safe := url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host}
	if password, _ := u.User.Password(); u.User != nil && password == "" {
		safe.User = url.User("xxxxx")
	}
	return safe.Redacted()
}

// parseURLs checks a comma-separated list of server addresses. safe is the list without
// secrets.
func parseURLs(list string) (servers, safe string, err error) {
	var full, shown []string
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		if len(full) > 0 && strings.HasPrefix(s, "ws") != strings.HasPrefix(full[0], "ws") {
			return "", "", fmt.Errorf("%w: addresses for WebSocket (ws, wss) and others cannot be in one list", ErrBadURL)
		}
		u, err := url.Parse(s)
		if err != nil {
			// The error of url.Parse quotes the whole URL, password and all.
			return "", "", fmt.Errorf("%w: cannot parse it, want nats://host:port", ErrBadURL)
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return "", "", fmt.Errorf("%w %q: scheme %q, want nats or tls", ErrBadURL, redacted(u), u.Scheme)
		}
		if u.Hostname() == "" {
			return "", "", fmt.Errorf("%w %q: host is missing, want nats://host:port", ErrBadURL, redacted(u))
		}
		if p := u.Port(); p != "" {
			if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
				return "", "", fmt.Errorf("%w %q: port %s is not 1 to 65535", ErrBadURL, redacted(u), p)
			}
		}
		full = append(full, s)
		shown = append(shown, redacted(u))
	}
	return strings.Join(full, ","), strings.Join(shown, ","), nil
}
