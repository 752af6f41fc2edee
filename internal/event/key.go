package event

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/printable"
)

// Key identifies an event permanently: the sentry that made it, that sentry's boot
// and a counter that grows by one with each event of the boot, from 1.
type Key struct {
	Sentry  string
	Boot    uint64
	Counter uint64
}

// Producer is the part of the key that a run of counters shares.
func (k Key) Producer() string { return k.Sentry + "-" + strconv.FormatUint(k.Boot, 10) }

// String is the form in the Nats-Msg-Id header: <sentry>-<boot>-<counter>.
func (k Key) String() string { return k.Producer() + "-" + strconv.FormatUint(k.Counter, 10) }

// maxKey bounds a key's text in bytes: consumers remember producers forever.
const maxKey = 192

// ParseKey reads exactly the form of String. The sentry id may itself hold dashes.
func ParseKey(s string) (Key, error) {
	if len(s) > maxKey {
		return Key{}, fmt.Errorf("event key %.80q: %d bytes, limit %d", s, len(s), maxKey)
	}
	rest, counter, ok1 := cutLast(s)
	sentry, boot, ok2 := cutLast(rest)
	if !ok1 || !ok2 || sentry == "" {
		return Key{}, fmt.Errorf("event key %.80q: want <sentry>-<boot>-<counter>", s)
	}
	if !printable.Is(sentry) {
		return Key{}, fmt.Errorf("event key %.80q: not printable", s)
	}
	b, err1 := strconv.ParseUint(boot, 10, 64)
	c, err2 := strconv.ParseUint(counter, 10, 64)
	if err1 != nil || err2 != nil {
		return Key{}, fmt.Errorf("event key %.80q: boot and counter must be numbers", s)
	}
	if leadingZero(boot) || leadingZero(counter) { // would give one key two names
		return Key{}, fmt.Errorf("event key %.80q: boot and counter must be without leading zeros", s)
	}
	return Key{Sentry: sentry, Boot: b, Counter: c}, nil
}

func leadingZero(number string) bool { return len(number) > 1 && number[0] == '0' }

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}
