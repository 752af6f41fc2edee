package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stuckWriter blocks until it is released, as a pipe that nobody reads.
type stuckWriter struct {
	release chan struct{}
	mu      sync.Mutex
	text    bytes.Buffer
}

func (s *stuckWriter) Write(p []byte) (int, error) {
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// A log that nobody reads costs one short wait, bounded memory, and lines that are counted
// and reported when somebody reads again.
func TestLogThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuckWriter{release: make(chan struct{})}
		l := NewLogWriter(out)
		l.OnDropped(func(n uint64) { fmt.Fprintf(l, "%d lines were dropped\n", n) })
		const line = "a line of forty bytes is enough for this\n"
		const lines = 3 * logBuffer / len(line)
		began := time.Now()
		for range lines {
			if n, err := io.WriteString(l, line); n != len(line) || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
		}
		if waited := time.Since(began); waited > logPatience {
			t.Errorf("%d lines took %v", lines, waited)
		}
		dropped := l.Dropped()
		if kept := lines - int(dropped); kept != logBuffer/len(line) {
			t.Errorf("%d lines are kept", kept)
		}
		began = time.Now()
		if l.Close(); time.Since(began) != logFlush {
			t.Errorf("Close took %v", time.Since(began))
		}
		close(out.release)
		synctest.Wait()
		text := out.text.String()
		if n := strings.Count(text, line); n != lines-int(dropped) || !strings.HasSuffix(text, fmt.Sprintf("\n%d lines were dropped\n", dropped)) {
			t.Errorf("%d lines were written, the last %q", n, text[max(0, len(text)-60):])
		}
		io.WriteString(l, "afterwards\n")
		if !strings.HasSuffix(out.text.String(), "\nafterwards\n") || l.Dropped() != dropped {
			t.Errorf("a line is not written once somebody reads again")
		}
	})
}

// With a reader every line is written when Write returns, in the order of the calls.
func TestLogThatIsRead(t *testing.T) {
	var out bytes.Buffer
	l := NewLogWriter(&out)
	for i := range 100 {
		fmt.Fprintln(l, i)
		if want := fmt.Sprintf("%d\n", i); !strings.HasSuffix(out.String(), want) {
			t.Fatalf("%q does not end in %q", out.String(), want)
		}
	}
}
