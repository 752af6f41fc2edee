package consumer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/dataset"
)

// maxSentries bounds the sentries that Stats name, which become labels of metrics:
// publishers choose the names. Those above are counted as otherSentries.
const (
	maxSentries   = 100
	otherSentries = "other"
)

// sentryNames are the sentries that are named: those that came first and, of those that come
// at one time, as at a start, those with most events. A name is kept, as a counter must not
// move between two labels.
type sentryNames map[string]struct{}

// bound names at most maxSentries sentries, and sums up the others.
func (s sentryNames) bound(counts map[string]uint64) map[string]uint64 {
	if len(s) < maxSentries {
		for _, name := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
			return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
		}) {
			if len(s) < maxSentries {
				s[name] = struct{}{}
			}
		}
	}
	out := make(map[string]uint64, min(len(counts), maxSentries+1))
	for name, n := range counts {
		if _, named := s[name]; !named {
			name = otherSentries
		}
		out[name] += n
	}
	return out
}

// refuseFar is an error for an event whose counter cannot be right.
func (in *ingest) refuseFar(producer string, counter uint64) error {
	if counter <= dataset.MaxJump || strings.HasPrefix(producer, "@") { // numbered by the stream
		return nil
	}
	last := uint64(0)
	for _, runs := range [...][]dataset.Interval{in.writer.Covered()[producer], in.keys[producer]} {
		if n := len(runs); n > 0 {
			last = max(last, runs[n-1][1])
		}
	}
	if counter <= last || counter-last <= dataset.MaxJump {
		return nil
	}
	return fmt.Errorf("its counter %d is %d beyond the last of its sentry's boot, want at most %d", counter, counter-last, dataset.MaxJump)
}
