package app

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/chainbound/valtrack/internal/telemetry"
)

// repaintEvery is fast enough to look live and slow enough to read.
const repaintEvery = 500 * time.Millisecond

// status shows what a service has done so far: on a terminal one line that is
// repainted below the log, elsewhere a log line each period. It is
// the writer of the log too, so that a log line never runs into the painted one.
type status struct {
	w        io.Writer
	terminal bool
	every    time.Duration
	// width is the terminal's, in columns: a longer line would wrap and stay.
	width func() int
	// notReady is why the service is not ready, or nil.
	notReady func() error

	mu   sync.Mutex
	line string // the painted line, empty when there is none
}

func newStatus(w io.Writer, terminal bool, every time.Duration, notReady func() error) *status {
	return &status{w: w, terminal: terminal, every: every, width: widthOf(w), notReady: notReady}
}

// defaultWidth is for a terminal whose width is not known.
const defaultWidth = 80

func widthOf(w io.Writer) func() int {
	return func() int {
		if f := telemetry.Terminal(w); f != nil {
			if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
				return columns
			}
		}
		return defaultWidth
	}
}

// eraseLine returns to the line's start and clears it (ECMA-48 EL).
const eraseLine = "\r\x1b[2K"

// Write writes a log line above the painted one.
func (s *status) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line == "" {
		return s.w.Write(p)
	}
	var b bytes.Buffer
	b.WriteString(eraseLine)
	b.Write(p)
	b.WriteString(s.line)
	if _, err := s.w.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// run shows the figures until ctx ends, and one last time then.
func (s *status) run(ctx context.Context, log *slog.Logger, figures func() []slog.Attr) error {
	period := s.every
	if s.terminal {
		period = repaintEvery
	}
	began := time.Now()
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.paint("")
			log.LogAttrs(ctx, slog.LevelInfo, "stopping", append(figures(), slog.String("another_signal", "ends the process at once"))...)
			return nil
		case <-ticker.C:
			attrs, reason := figures(), s.notReady()
			if s.terminal {
				s.paint(statusLine(time.Since(began), reason, byImportance(attrs)))
				continue
			}
			if reason != nil {
				attrs = append(attrs, slog.Any("not_ready", reason))
			}
			log.LogAttrs(ctx, slog.LevelInfo, "status", attrs...)
		}
	}
}

// paint replaces the painted line; empty removes it. Of a line that is too long it leaves
// out figures at the end: half a number would be another number.
func (s *status) paint(line string) {
	if limit := max(0, s.width()-1); len(line) > limit {
		line = line[:limit] // figures only: ASCII
		if end := strings.LastIndex(line, figureSeparator); end > 0 {
			line = line[:end]
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if line == s.line {
		return
	}
	// A terminal that went away ends the process by SIGHUP, not here.
	fmt.Fprint(s.w, eraseLine+line)
	s.line = line
}

// byImportance orders figures for a line that may be cut: what is so now, with what a person waits
// for first, and then, marked as such, what was counted since the start.
func byImportance(attrs []slog.Attr) []slog.Attr {
	first := []string{"api", "reachable", "watching", "stored", "commit_in", "lag"}
	rank := func(a slog.Attr) int {
		if i := slices.Index(first, a.Key); i >= 0 {
			return i
		}
		return len(first)
	}
	var now, counted []slog.Attr
	for _, a := range attrs {
		if slices.Contains([]string{"records", "dialled", "handshaked"}, a.Key) {
			counted = append(counted, a)
		} else {
			now = append(now, a)
		}
	}
	slices.SortStableFunc(now, func(a, b slog.Attr) int { return cmp.Compare(rank(a), rank(b)) })
	if len(counted) > 0 {
		counted[0].Key = "so far: " + counted[0].Key
	}
	return append(now, counted...)
}

const figureSeparator = "  "

// maxReason is how much of a reason a painted line has, in bytes.
const maxReason = 50

// statusLine is the elapsed time, the beginning of why the service is not ready, and the
// figures in one line.
func statusLine(elapsed time.Duration, notReady error, attrs []slog.Attr) string {
	words := []string{elapsed.Truncate(time.Second).String()}
	if notReady != nil {
		reason := strings.Trim(strconv.QuoteToASCII(notReady.Error()), `"`)
		if len(reason) > maxReason {
			reason = reason[:maxReason] + "..."
		}
		words = append(words, "NOT READY: "+reason)
	}
	for _, a := range attrs {
		words = append(words, strings.ReplaceAll(a.Key, "_", " ")+" "+a.Value.String())
	}
	return strings.Join(words, figureSeparator)
}
