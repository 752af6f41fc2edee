package clickhouse

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connTo(t *testing.T, cfg Config) *conn {
	t.Helper()
	target, err := cfg.target()
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(target)
	t.Cleanup(c.close)
	return c
}

// Passwords go to the server as they are in the file at the time, and to nobody else: not into
// errors or logs, and not to where the server redirects.
func TestPasswords(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer elsewhere.Close()
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		got = user + ":" + password
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "password")
	var logged strings.Builder
	w := openWriter(t, t.TempDir())
	url := "http://me@" + server.Listener.Addr().String()
	for _, password := range []string{"first secret", "second secret"} {
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{URL: url, PasswordFile: file}, w, "test", "id", slog.New(slog.NewTextHandler(&logged, nil)))
		if err != nil {
			t.Fatal(err)
		}
		err = s.round(t.Context())
		if err == nil || !strings.Contains(err.Error(), "307 Temporary Redirect") || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
		s.failed(err, time.Second)
		s.conn.close()
		if got != "me:"+password {
			t.Errorf("signed in as %q", got)
		}
	}
	if strings.Contains(logged.String(), "secret") || !strings.Contains(logged.String(), "cannot copy to ClickHouse") {
		t.Errorf("log %s", logged.String())
	}
	state, err := os.ReadFile(filepath.Join(w.Dir(), stateFile))
	if err == nil && strings.Contains(string(state), "secret") {
		t.Errorf("state %s", state)
	}
}

// A server's certificate is verified, by the system's authorities or those that are given.
func TestCertificateIsVerified(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":[["26.9.2.1"]]}`)
	}))
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if _, err := connTo(t, Config{URL: server.URL}).version(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without its authority: error %v", err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if version, err := connTo(t, Config{URL: server.URL, CA: ca}).version(t.Context()); err != nil || version != "26.9.2.1" {
		t.Errorf("with it: version %q, error %v", version, err)
	}
}

// A server that says anything gets an error, which is bounded and fit for a log.
func TestAnswersOfAnyKind(t *testing.T) {
	answer, status := "", http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	c := connTo(t, Config{URL: server.URL})
	for _, of := range []struct {
		answer string
		status int
	}{
		{"", 200},
		{"Ok.\n", 200},
		{`{"data":[]}`, 200},
		{`{"data":[[]]}`, 200},
		{`{"data":[["x"]]}`, 200},
		{`{"data":[[-1]]}`, 200},
		{`{"data":[[1,2]]}`, 200},
		{`{"data":[[{"a":1}]]}`, 200},
		{`{"data":[[99999999999999999999]]}`, 200},
		{`{"data":[[1.5]]}`, 200},
		{strings.Repeat("x", maxAnswer+10), 200},
		{strings.Repeat("\x1b[31m\n", 1<<16), 500},
		{"", 301},
		{"not here", 404},
	} {
		answer, status = of.answer, of.status
		_, err := c.numbers(t.Context(), "SELECT count()", 1)
		if err == nil || len(err.Error()) > 2*maxError || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%d %.40q: error %.200q", of.status, of.answer, fmt.Sprint(err))
		}
	}
	answer, status = `{"data":[["18446744073709551615"]]}`, 200
	if n, err := c.numbers(t.Context(), "SELECT count()", 1); err != nil || n[0] != 1<<64-1 {
		t.Errorf("%v, error %v", n, err)
	}
}

// A server that is silent is given up.
func TestSilentServer(t *testing.T) {
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
	defer server.Close()
	defer close(stop)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := connTo(t, Config{URL: server.URL}).version(ctx); err == nil {
		t.Error("no error")
	}
}

// FuzzAnswer: no answer of a server makes us panic.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"data":[["1",2,null,[1],{"a":"b"}]]}`), 200)
	f.Add([]byte("Code: 60. DB::Exception: Table default.t doesn't exist"), 404)
	f.Fuzz(func(t *testing.T, answer []byte, status int) {
		c := &conn{&target{endpoint: "http://h/"}, &http.Client{Transport: answering{answer, status}}}
		rows, err := c.rows(t.Context(), "SELECT 1")
		if err == nil && status != http.StatusOK {
			t.Errorf("status %d: rows %v", status, rows)
		}
		c.numbers(t.Context(), "SELECT 1", 2)
	})
}

type answering struct {
	answer []byte
	status int
}

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	r := httptest.NewRecorder()
	r.Write(a.answer)
	resp := r.Result()
	resp.StatusCode = a.status
	return resp, nil
}
