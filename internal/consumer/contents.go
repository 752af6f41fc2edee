package consumer

import (
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
)

// Reasons to reject an event for its key: docs/adr/0026-keys-and-content.md.
var (
	errConflict = errors.New("its key is known with other content: somebody else publishes under this sentry's keys")
	errFar      = errors.New("its counter is too far from the others of its sentry")
)

// maxJump is how far a counter may be from the highest that is known of its producer. A
// sentry skips the counters of what its spool had to drop: those of a year, at 30 events/s.
const maxJump = 1 << 30

// checkJump is errFar for a counter that no sentry can have reached.
func (in *ingest) checkJump(m bus.Message, producer string, counter uint64) error {
	if !isFar(counter, 0) {
		return nil
	}
	highest := max(last(in.writer.Covered(), producer), last(in.keys, producer))
	if _, err := event.ParseKey(m.Key); err == nil && isFar(counter, highest) { // else it is a sequence number
		return fmt.Errorf("%w: %d, after %d", errFar, counter, highest)
	}
	return nil
}

// isFar reports a counter that is more than maxJump above the highest that is known.
func isFar(counter, highest uint64) bool { return counter > maxJump && counter-maxJump > highest }

// last is the highest counter of a producer, 0 when there is none.
func last(c dataset.Coverage, producer string) uint64 {
	if runs := c[producer]; len(runs) > 0 {
		return runs[len(runs)-1][1]
	}
	return 0
}

// contents remembers what was stored under some million keys: those of each producer's newest
// events, unless other keys took their places. It is a table of hashes of fixed size, with
// neighbouring counters next to each other.
type contents struct {
	seed  maphash.Seed
	slots []content
}

// content is a key and what was stored under it, as hashes; zeros for none.
type content struct{ key, data uint32 }

const contentSlots = 1 << 20

func newContents() *contents {
	return &contents{seed: maphash.MakeSeed(), slots: make([]content, contentSlots)}
}

func (c *contents) hash(producer string, counter uint64, m bus.Message) (*content, content) {
	h := maphash.String(c.seed, producer)
	slot := &c.slots[(h+counter)%uint64(len(c.slots))]
	const odd = 0x9e3779b97f4a7c15 // spreads the counter over all bits
	return slot, content{
		key:  uint32(h>>32) ^ uint32(counter*odd>>32),
		data: uint32(maphash.Bytes(c.seed, m.Data) ^ maphash.String(c.seed, m.Subject)),
	}
}

// remember records what is stored under a key.
func (c *contents) remember(producer string, counter uint64, m bus.Message) {
	slot, now := c.hash(producer, counter, m)
	*slot = now
}

// conflict reports whether other content is known to be stored under the key.
func (c *contents) conflict(producer string, counter uint64, m bus.Message) bool {
	slot, now := c.hash(producer, counter, m)
	return slot.key == now.key && slot.data != now.data && *slot != content{}
}
