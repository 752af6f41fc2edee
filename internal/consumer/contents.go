package consumer

import (
	"encoding/binary"
	"errors"
	"hash/maphash"

	"github.com/chainbound/valtrack/internal/bus"
)

var errConflict = errors.New("its key is already stored with different content: someone else is publishing under this sentry's keys")

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

// messageSet remembers messages by key and content: the newest, unless others took their
// places. It is a table of hashes of fixed size.
type messageSet struct {
	seed  maphash.Seed
	slots []uint64 // zero for none
}

// messageSlots is several times the number of messages that can be redelivered although
// they were answered: those of the last moments before a crash.
const messageSlots = 1 << 17

func newMessageSet() *messageSet {
	return &messageSet{seed: maphash.MakeSeed(), slots: make([]uint64, messageSlots)}
}

// hash identifies a message by all that publishers choose.
func (s *messageSet) hash(producer string, counter uint64, subject string, data []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	var n [16]byte // the lengths keep the fields apart
	binary.LittleEndian.PutUint64(n[:], counter)
	binary.LittleEndian.PutUint32(n[8:], uint32(len(producer)))
	binary.LittleEndian.PutUint32(n[12:], uint32(len(subject)))
	h.Write(n[:])
	h.WriteString(producer)
	h.WriteString(subject)
	h.Write(data)
	return max(h.Sum64(), 1)
}

func (s *messageSet) slot(hash uint64) *uint64 { return &s.slots[hash%uint64(len(s.slots))] }

func (s *messageSet) add(hash uint64) { *s.slot(hash) = hash }

func (s *messageSet) has(hash uint64) bool { return *s.slot(hash) == hash }
