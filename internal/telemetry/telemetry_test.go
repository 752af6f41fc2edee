package telemetry

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chainbound/valtrack/internal/printable"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseLevel(t *testing.T) {
	for text, want := range map[string]slog.Level{"debug": slog.LevelDebug, "INFO": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := ParseLevel(text); err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "loud", "info+2"} {
		if _, err := ParseLevel(text); err == nil {
			t.Errorf("ParseLevel(%q) gave no error", text)
		}
	}
}

func TestLoggerFormats(t *testing.T) {
	line := func(format string, terminal bool) string {
		t.Helper()
		var b bytes.Buffer
		log, err := NewLogger(&b, format, slog.LevelInfo, terminal)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("hidden")
		log.Info("seen", slog.Int("peers", 3))
		return b.String()
	}
	var object struct {
		Msg   string `json:"msg"`
		Peers int    `json:"peers"`
	}
	if err := json.Unmarshal([]byte(line(FormatJSON, true)), &object); err != nil || object.Msg != "seen" || object.Peers != 3 {
		t.Errorf("json line decodes to %+v, %v", object, err)
	}
	for _, format := range []string{FormatText, FormatAuto} {
		if got := line(format, false); !strings.Contains(got, "msg=seen peers=3") || strings.Contains(got, "hidden") {
			t.Errorf("%s line is %q", format, got)
		}
	}
	if got := line(FormatAuto, true); !strings.Contains(got, "\x1b[") {
		t.Errorf("auto on a terminal has no colour: %q", got)
	}
	if _, err := NewLogger(io.Discard, "xml", slog.LevelInfo, false); err == nil {
		t.Error("format xml gave no error")
	}
}

// What outsiders chose cannot steer the terminal on which a log is read, nor forge a line.
func TestLogIsPrintable(t *testing.T) {
	evil := "a\x1b[2J\nb\u202ec\u009bd"
	for format, decorated := range map[string]bool{FormatAuto: true, FormatText: false, FormatJSON: false} {
		var b bytes.Buffer
		log, err := NewLogger(&b, format, slog.LevelInfo, decorated)
		if err != nil {
			t.Fatal(err)
		}
		log.With(slog.String("peer", evil)).WithGroup("g").Info("msg "+evil, slog.String("text", evil), slog.Any("error", errors.New(evil)),
			slog.Any("list", []string{evil}), slog.Group("group", slog.String("text", evil)))
		line := b.String()
		if decorated {
			line = regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(line, "")
		}
		if body, ok := strings.CutSuffix(line, "\n"); !ok || !printable.Is(body) {
			t.Errorf("%s: %q", format, line)
		}
	}
}

func TestServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var notReady error
	s, err := Listen("127.0.0.1:0", NewRegistry(), func() error { return notReady }, true, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(s.Addr(), NewRegistry(), nil, false, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("a second listener on %s: %v", s.Addr(), err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		t.Helper()
		res, err := client.Get("http://" + s.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	if code, body := get("/metrics"); code != http.StatusOK || !strings.Contains(body, "go_goroutines") {
		t.Errorf("/metrics: %d, %.80q", code, body)
	}
	for _, path := range []string{"/livez", "/readyz", "/debug/pprof/"} {
		if code, _ := get(path); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
	// The command line may hold passwords.
	if code, _ := get("/debug/pprof/cmdline"); code != http.StatusNotFound {
		t.Errorf("/debug/pprof/cmdline: %d", code)
	}
	notReady = errors.New("no NATS")
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no NATS") {
		t.Errorf("/readyz: %d, %q", code, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// serving runs a server without profiles until the test ends.
func serving(t *testing.T) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", NewRegistry(), func() error { return nil }, false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func TestProfilesAreNotServedUnasked(t *testing.T) {
	s := serving(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile?seconds=1", "/debug/pprof/cmdline"} {
		res, err := client.Get("http://" + s.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// Connections that are kept open cost a bounded number of places, and never the next scrape.
func TestKeptConnectionsAreBounded(t *testing.T) {
	s := serving(t)
	ask := func(conn net.Conn) error {
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: any.example\r\n\r\n"); err != nil {
			return err
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, err = io.ReadAll(res.Body)
		return err
	}
	var conns []net.Conn
	for range maxConnections * 2 {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := ask(conn); err != nil {
			t.Fatalf("connection %d: %v", len(conns), err)
		}
		conns = append(conns, conn)
	}
	open := 0
	for _, conn := range conns {
		if ask(conn) == nil {
			open++
		}
	}
	if open == 0 || open > maxConnections {
		t.Errorf("%d connections are open", open)
	}
}

// A peer that sends nothing, or does not read, loses its connection.
func TestServerHasTimeouts(t *testing.T) {
	s := serving(t)
	if h := s.http; h.ReadHeaderTimeout == 0 || h.ReadTimeout == 0 || h.WriteTimeout == 0 || h.IdleTimeout == 0 || h.MaxHeaderBytes == 0 {
		t.Errorf("a timeout is missing: %+v", h)
	}
}
