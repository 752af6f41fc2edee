package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A file that is being written is not taken up: neither what is there of it, nor nothing.
func TestHalfWrittenKeysFile(t *testing.T) {
	full, fullLine, _ := NewKey("ops", ScopeFull)
	public, publicLine, _ := NewKey("site", ScopePublic)
	path := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(fullLine + "\n")
	var said []error
	ring, err := openKeys(path, func(err error) { said = append(said, err) })
	if err != nil {
		t.Fatal(err)
	}
	valid := func(key string) (caller, bool) {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("X-API-Key", key)
		who, p := ring.caller(r)
		return who, p == nil
	}
	text := publicLine + "\n" + fullLine + "\n"
	for n := 0; n < len(text); n += 5 { // a look between any two writes, also without "public" behind the name
		write(text[:n])
		ring.look()
		if _, ok := valid(full); !ok {
			t.Fatalf("locked out after %d bytes", n)
		}
		if who, ok := valid(public); ok {
			t.Fatalf("let in after %d bytes: %+v", n, who)
		}
	}
	write(text)
	ring.look()
	ring.look()
	if who, ok := valid(public); !ok || who.full {
		t.Errorf("%+v %t", who, ok)
	}
	if len(said) != 1 || said[0] != nil {
		t.Errorf("said %v", said)
	}
	os.Remove(path)
	ring.look() // while it is replaced
	write(fullLine + "\n")
	ring.look()
	ring.look()
	if _, ok := valid(public); ok || len(said) != 2 || errors.Join(said...) != nil {
		t.Errorf("after it was replaced: %v", said)
	}
}

// writeCertificate makes a certificate for 127.0.0.1 with a serial number.
func writeCertificate(t *testing.T, cert, key string, serial int64) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: text}} {
		data := pem.EncodeToMemory(block)
		pool.AppendCertsFromPEM(data)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

// A renewed certificate is used for new connections; one whose key is not its own is not, and the one
// of before stays.
func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writeCertificate(t, cert, key, 1)
	var said []error
	c, err := openCertificate(cert, key, func(err error) { said = append(said, err) })
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		own, err := c.config().GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(own.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	writeCertificate(t, cert, filepath.Join(dir, "other"), 2) // the key has not come yet
	for range 3 {
		c.look()
	}
	if serial() != 1 || len(said) != 1 || said[0] == nil || !strings.Contains(said[0].Error(), cert) {
		t.Errorf("serial %d, said %v", serial(), said)
	}
	if err := os.Rename(filepath.Join(dir, "other"), key); err != nil {
		t.Fatal(err)
	}
	c.look()
	c.look()
	if serial() != 2 || len(said) != 2 || said[1] != nil {
		t.Errorf("serial %d, said %v", serial(), said)
	}
	if _, err := openCertificate(key, cert, nil); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("the wrong way round: %v", err)
	}
}

// What is wrong with a key is told apart by programs too, and 401 says how to authenticate.
func TestProblemsWithKeys(t *testing.T) {
	c := newTestCrawl(t)
	c.crawl(0, 20, time.Now().Add(-time.Hour))
	s := serverOf(t, c, c.sources(), Config{})
	public, publicLine, _ := NewKey("site", ScopePublic)
	revoked, revokedLine, _ := NewKey("old", ScopeFull)
	if err := s.keys.load([][]byte{[]byte(publicLine + "\n" + revokedLine + " revoked\n")}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		header http.Header
		path   string
		status int
		code   string
	}{
		"none":        {http.Header{}, "/api/v1/nodes?fields=ip", 403, codeRequired},
		"none, sort":  {http.Header{}, "/api/v1/nodes?sort=ip", 403, codeRequired},
		"none, q":     {http.Header{}, "/api/v1/nodes?q=192.0.2.1", 403, codeRequired},
		"none, table": {http.Header{}, "/api/v1/datasets/visit_events", 403, codeRequired},
		"public":      {http.Header{"X-Api-Key": {public}}, "/api/v1/nodes?fields=ip", 403, codeScope},
		"wrong":       {http.Header{"X-Api-Key": {"nonsense"}}, "/api/v1/summary", 401, codeUnknown},
		"revoked":     {http.Header{"X-Api-Key": {revoked}}, "/api/v1/summary", 401, codeRevoked},
		"empty":       {http.Header{"X-Api-Key": {""}}, "/api/v1/summary", 401, codeMalformed},
		"basic":       {http.Header{"Authorization": {"Basic eDp5"}}, "/api/v1/summary", 401, codeMalformed},
	} {
		rec := s.ask(http.MethodGet, want.path, want.header)
		if rec.Code != want.status || !strings.Contains(rec.Body.String(), `"code":"`+want.code+`"`) || (rec.Code == 401) != strings.HasPrefix(rec.Header().Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: %d %v %s", name, rec.Code, rec.Header(), rec.Body)
		}
	}
}
