package bus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/nats-io/nats.go"
)

// ErrRefused marks a server that does not let us sign in, or with which no secure connection
// can be made: another attempt with the same options would fail in the same way.
var ErrRefused = errors.New("the server refuses the connection")

// refused is ErrRefused with what to change; nil for an error that may pass by itself.
func refused(err error) error {
	var untrusted *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var header tls.RecordHeaderError
	var network *net.OpError
	for _, cause := range []struct {
		is   bool
		hint string
	}{
		{errors.Is(err, nats.ErrAuthorization), "check the user and password, token, creds file or nkey seed"},
		{errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired), "the user's credentials have expired or were revoked: get new ones"},
		{errors.Is(err, nats.ErrNkeysNotSupported), "it does not accept nkeys: omit the creds file or nkey seed"},
		{errors.Is(err, nats.ErrSecureConnWanted), "it has no TLS: use a nats:// address, and no certificates"},
		{errors.Is(err, nats.ErrSecureConnRequired), "it requires TLS: use a tls:// address"},
		{errors.As(err, &untrusted) || errors.As(err, &authority) || errors.As(err, &host), "its certificate is not trusted: give its CA file, and use the host name in the certificate"},
		{errors.As(err, &header), "it does not speak TLS there"},
		{errors.As(err, &network) && network.Op == "remote error", "it does not accept our side of TLS: it may require a client certificate"},
	} {
		if cause.is {
			return fmt.Errorf("%w: %s (%w)", ErrRefused, cause.hint, err)
		}
	}
	return nil
}
