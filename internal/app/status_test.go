package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// screen is a terminal's record, safe for several writers.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func isReady() error { return nil }

// A status line does not look as if all were well while the service is not ready.
func TestStatusSaysWhyNotReady(t *testing.T) {
	failing := errors.New("cannot write to the datasets: write /data/\x1b[2Jvisit: no space left on device")
	if got, want := statusLine(time.Minute, failing, []slog.Attr{slog.Int("stored", 0)}), `1m0s  NOT READY: cannot write to the datasets: write /data/\x1b[2Jv...  stored 0`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	out := &screen{}
	s := newStatus(out, false, time.Millisecond, func() error { return failing })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	go func() {
		for !strings.Contains(out.String(), "status") && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if err := s.run(ctx, slog.New(slog.NewTextHandler(s, nil)), func() []slog.Attr { return nil }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `msg=status not_ready="cannot write to the datasets:`) {
		t.Errorf("log %q", out.String())
	}
}

func TestStatusKeepsLogAndLineApart(t *testing.T) {
	out := &screen{}
	s := newStatus(out, true, time.Hour, isReady)
	if _, err := s.Write([]byte("one\n")); err != nil {
		t.Fatal(err)
	}
	s.paint(statusLine(61*time.Second+time.Millisecond, nil, []slog.Attr{slog.Int("records", 7), slog.Int("lag", 0)}))
	if n, err := s.Write([]byte("two\n")); n != len("two\n") || err != nil {
		t.Fatalf("Write gives %d, %v", n, err)
	}
	s.paint("")
	if _, err := s.Write([]byte("three\n")); err != nil {
		t.Fatal(err)
	}
	const painted = "1m1s  records 7  lag 0"
	want := "one\n" + eraseLine + painted + eraseLine + "two\n" + painted + eraseLine + "three\n"
	if got := out.String(); got != want {
		t.Errorf("screen is %q, want %q", got, want)
	}
}

func TestStatusLineFitsTheTerminal(t *testing.T) {
	out := &screen{}
	s := newStatus(out, true, time.Hour, isReady)
	s.width = func() int { return 10 }
	s.paint(strings.Repeat("x", 50))
	if got, want := out.String(), eraseLine+strings.Repeat("x", 9); got != want {
		t.Errorf("screen is %q, want %q", got, want)
	}
	// No number is cut.
	out = &screen{}
	s = newStatus(out, true, time.Hour, isReady)
	s.width = func() int { return len("5s  records 12345") }
	s.paint(statusLine(5*time.Second, nil, []slog.Attr{slog.Int("records", 12345), slog.Int("lag", 0)}))
	if got, want := out.String(), eraseLine+"5s"; got != want {
		t.Errorf("screen is %q, want %q", got, want)
	}
}

func TestStatusLogsOffTerminal(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	out := &screen{}
	s := newStatus(out, false, time.Millisecond, isReady)
	log := slog.New(slog.NewTextHandler(s, nil))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	calls := 0
	go func() {
		done <- s.run(ctx, log, func() []slog.Attr {
			if calls++; calls == 2 {
				cancel()
			}
			return []slog.Attr{slog.Int("records", 7)}
		})
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"msg=status records=7", "msg=stopping records=7"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("log %q lacks %q", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("log has escape codes: %q", out.String())
	}
}

// On a terminal that is too narrow what is so now stays, and what was counted goes.
func TestStatusLineHasTheImportantFirst(t *testing.T) {
	attrs := []slog.Attr{
		slog.Uint64("records", 123456), slog.Uint64("dialled", 1110), slog.Uint64("handshaked", 640), slog.Int("watching", 65), slog.Int("reachable", 69), slog.Int("spooled", 0),
		slog.Uint64("stored", 660), slog.Int("waiting", 27), slog.Duration("commit_in", 42*time.Second), slog.Uint64("lag", 0),
	}
	want := "1m0s  reachable 69  watching 65  stored 660  commit in 42s  lag 0  spooled 0  waiting 27  so far: records 123456  dialled 1110  handshaked 640"
	if got := statusLine(time.Minute, nil, byImportance(attrs)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	out := &screen{}
	s := newStatus(out, true, time.Hour, isReady)
	s.width = func() int { return 80 }
	s.paint(statusLine(time.Minute, nil, byImportance(attrs)))
	if got := out.String(); !strings.HasSuffix(got, "commit in 42s  lag 0  spooled 0") {
		t.Errorf("on 80 columns %q", got)
	}
}
