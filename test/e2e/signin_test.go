package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A server that does not let us sign in, or not the way we try to, is said in one line by
// every command that connects to it: waiting would not help.
func TestRefusedSignIn(t *testing.T) {
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	seed := filepath.Join(dir, "nkey")
	if err := os.WriteFile(seed, []byte("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"), 0o600); err != nil {
		t.Fatal(err)
	}
	events := filepath.Join(dir, "visit_events.log")
	if err := os.WriteFile(events, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := func(args ...string) (address string) {
		port := freePort(t)
		args = append([]string{"-js", "-a", "127.0.0.1", "-p", port, "-sd", t.TempDir()}, args...)
		startProgram(t, tool(t, "nats-server"), args...).waitLog(t, "Server is ready", 30*time.Second)
		return "127.0.0.1:" + port
	}
	plain, users, tokens := server(), server("--user", "u", "--pass", "right"), server("--auth", "right")
	secure := server("--tls", "--tlscert", cert, "--tlskey", key)
	verifying := server("--tlsverify", "--tlscert", cert, "--tlskey", key, "--tlscacert", cert)
	for _, test := range []struct {
		what string
		args []string
		want string
	}{
		{"wrong password", []string{"--nats", "nats://u:secret@" + users}, "check the user and password"},
		{"no password", []string{"--nats", "nats://" + users}, "check the user and password"},
		{"wrong token", []string{"--nats", "nats://secret@" + tokens}, "token, creds file"},
		{"nkey of nobody", []string{"--nats", "nats://" + users, "--nats-nkey", seed}, "nkey"},
		{"nkey, no sign-in", []string{"--nats", "nats://" + plain, "--nats-nkey", seed}, "nkey"},
		{"TLS to a plain server", []string{"--nats", "tls://" + plain}, "it has no TLS"},
		{"unknown authority", []string{"--nats", "tls://" + secure}, "its certificate is not trusted"},
		{"no client certificate", []string{"--nats", "tls://" + verifying, "--nats-ca", cert}, "it may require a client certificate"},
	} {
		for _, command := range [][]string{
			{"sentry", "--bootnode", nobody, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0"}, {"consumer"}, {"replay", events}, {"consumer", "--forget", "x"},
		} {
			args := append(append(command[:len(command):len(command)], test.args...), "--data-dir", filepath.Join(t.TempDir(), "data"), "--log-format", "text")
			cmd := exec.Command(program, args...)
			cmd.Env = environment()
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			began := time.Now()
			killed := time.AfterFunc(15*time.Second, func() { cmd.Process.Kill() })
			err := cmd.Run()
			killed.Stop()
			var exit *exec.ExitError
			text := strings.TrimSpace(stderr.String())
			lines := strings.Split(text, "\n")
			last := lines[len(lines)-1]
			if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.HasPrefix(last, "valtrack: --nats: ") || !strings.Contains(last, test.want) {
				t.Errorf("%s, %s: %v after %v:\n%s", test.what, command[0], err, time.Since(began), text)
			}
			if strings.Contains(text, "deadline exceeded") || strings.Contains(text, "secret") || strings.Contains(text, "cannot reach NATS") {
				t.Errorf("%s, %s says:\n%s", test.what, command[0], text)
			}
		}
	}
}

// nobody is the record of a node on loopback that does not exist.
const nobody = "enr:-Nm4QIOYditiGkYHVY6KL0OvoE343TgjSGqdbf4WPZc3OSaFYEzWOZJqCdgO032SDD85BDa1d0EMBg-j0CMOs_XYuWiGAaIEXqSOh2F0dG5ldHOIGAAAAAAAAACDY2djgYCEZXRoMpBcImF23n5wBv__________gmlkgnY0gmlwhH8KAAGDbmZkhAAAAACEcXVpY4LnPIlzZWNwMjU2azGhA5HgIzv9fzeP6hpRWK1KRiSsXhdKA0ulrFSQw8xgFzL8iHN5bmNuZXRzAIN0Y3CCsjWDdWRwgsvU"

// selfSigned makes a certificate for 127.0.0.1 that is its own authority.
func selfSigned(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
