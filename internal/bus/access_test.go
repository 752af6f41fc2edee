package bus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

func writeFile(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newSeed(t *testing.T, create func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public string, seed []byte) {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err1 := pair.PublicKey()
	seed, err2 := pair.Seed()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return pair, public, seed
}

// connectOnce fails at once when it is refused: it would try again otherwise.
func connectOnce(t *testing.T, e *Embedded, a Access) error {
	t.Helper()
	if err := a.Check(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c, err := Connect(ctx, Options{URL: e.URL(), Access: a, Log: discardLog()})
	if err == nil {
		_, err = c.ensureStream(t.Context())
		err = errors.Join(err, c.Close())
	}
	return err
}

func TestSignInWithAnNKey(t *testing.T) {
	_, public, seed := newSeed(t, nkeys.CreateUser)
	e := startServer(t, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} })
	if err := connectOnce(t, e, Access{}); err == nil {
		t.Error("a server that wants an nkey took none")
	}
	if err := connectOnce(t, e, Access{NKey: writeFile(t, seed)}); err != nil {
		t.Error(err)
	}
}

func TestSignInWithCreds(t *testing.T) {
	operator, operatorKey, _ := newSeed(t, nkeys.CreateOperator)
	account, accountKey, _ := newSeed(t, nkeys.CreateAccount)
	_, userKey, userSeed := newSeed(t, nkeys.CreateUser)
	ac := jwt.NewAccountClaims(accountKey)
	ac.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: 1 << 30, Streams: -1, Consumer: -1}
	_, systemKey, _ := newSeed(t, nkeys.CreateAccount)
	accountJWT, err1 := ac.Encode(operator)
	systemJWT, err4 := jwt.NewAccountClaims(systemKey).Encode(operator)
	userJWT, err2 := jwt.NewUserClaims(userKey).Encode(account)
	creds, err3 := jwt.FormatUserConfig(userJWT, userSeed)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	e := startServer(t, func(o *server.Options) {
		o.TrustedKeys = []string{operatorKey}
		resolver := &server.MemAccResolver{}
		if err := errors.Join(resolver.Store(accountKey, accountJWT), resolver.Store(systemKey, systemJWT)); err != nil {
			t.Error(err)
		}
		o.AccountResolver, o.SystemAccount = resolver, systemKey
	})
	if err := connectOnce(t, e, Access{}); err == nil {
		t.Error("a server that wants credentials took none")
	}
	if err := connectOnce(t, e, Access{Creds: writeFile(t, creds)}); err != nil {
		t.Error(err)
	}
}

func TestSignInWithACertificate(t *testing.T) {
	ca, cert, key := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	text, _ := os.ReadFile(ca)
	pool.AppendCertsFromPEM(text)
	e := startServer(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	})
	if err := connectOnce(t, e, Access{CA: ca}); err == nil {
		t.Error("a server that wants a certificate took none")
	}
	if err := connectOnce(t, e, Access{Cert: cert, Key: key}); err == nil {
		t.Error("an unknown authority was trusted")
	}
	if err := connectOnce(t, e, Access{CA: ca, Cert: cert, Key: key}); err != nil {
		t.Error(err)
	}
}

// certificate is one for 127.0.0.1, signed by itself.
func certificate(t *testing.T) (ca, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err1 := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	pkcs8, err2 := x509.MarshalPKCS8PrivateKey(private)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return writeFile(t, public), writeFile(t, public), writeFile(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// Events travel within a JetStream domain.
func TestDomain(t *testing.T) {
	e := startServer(t, func(o *server.Options) { o.JetStreamDomain = "hub" })
	c, err := Connect(t.Context(), Options{URL: e.URL(), Access: Access{Domain: "hub"}, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	sub := subscribe(t, c)
	got := collect(t, sub)
	p := publishDirectly(t, c, 1)
	if err := p.Publish(t.Context(), discovered(1)); err != nil {
		t.Fatal(err)
	}
	closePublisher(t, p)
	until(t, "the event, acknowledged", func() bool {
		lag, err := sub.Lag(t.Context())
		return got.distinct() == 1 && err == nil && lag == Lag{}
	})
	elsewhere, err := Connect(t.Context(), Options{URL: e.URL(), Access: Access{Domain: "leaf"}, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	if err := elsewhere.CheckJetStream(t.Context()); err == nil {
		t.Error("a domain that does not exist was found")
	}
}

func TestAccessThatCannotWork(t *testing.T) {
	_, _, seed := newSeed(t, nkeys.CreateUser)
	ca, cert, key := certificate(t)
	for name, a := range map[string]Access{
		"stream":           {Stream: "a.b"},
		"domain":           {Domain: "a b"},
		"no key":           {Cert: cert},
		"no certificate":   {Key: key},
		"two ways":         {Creds: "a", NKey: "b"},
		"missing creds":    {Creds: filepath.Join(t.TempDir(), "none")},
		"seed as creds":    {Creds: writeFile(t, []byte("nothing"))},
		"nkey":             {NKey: writeFile(t, []byte("nothing"))},
		"key is not one":   {Cert: cert, Key: ca},
		"ca is not one":    {CA: key},
		"missing ca":       {CA: "/nonexistent"},
		"missing nkey":     {NKey: "/nonexistent"},
		"creds of garbage": {Creds: writeFile(t, append([]byte("x"), seed...)[:9])},
	} {
		err := a.Check()
		if !errors.Is(err, ErrAccess) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), string(seed)) {
			t.Errorf("%s: the error quotes the seed", name)
		}
	}
	if err := (Access{}).Check(); err != nil {
		t.Error(err)
	}
}

// What signs in is in no text about an address.
func TestSecretsInURLs(t *testing.T) {
	_, _, seed := newSeed(t, nkeys.CreateUser)
	for _, secret := range []string{"s3cr3t", string(seed)} {
		for _, address := range []string{
			secret + "@h:1", "nats://" + secret + "@h:1", "nats://u:" + secret + "@h:1", "tls://" + secret + ":@h:1", "nats://h:1?token=" + secret,
			"nats://h:1/" + secret, "nats://h:1#" + secret, "ftp://" + secret + "@h:1", "nats://" + secret + "@:1", "nats://" + secret + "@h:99999",
			"nats://" + secret + "@h:1,nats://" + secret + "@i:1", "nats://" + secret + "@%zz", "nats://h:" + secret,
		} {
			_, safe, err := parseURLs(address)
			if text := safe + errorText(err); strings.Contains(text, secret) {
				t.Errorf("%s: %s", address, text)
			}
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
