package sentry

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/event"
)

// Identity is what a sentry keeps over restarts.
type Identity struct {
	// Key is the 32-byte secp256k1 scalar of our node record and peer id.
	Key []byte
	// ID names the sentry in event keys: 26 letters and digits, random.
	ID string
	// Boot names this start of the sentry. It grows from start to start; see nextBoot.
	Boot uint64
}

const (
	keyFile      = "sentry.key"  // the scalar in hex, one line
	identityFile = "sentry.json" // storedIdentity
)

type storedIdentity struct {
	ID   string `json:"sentry_id"`
	Boot uint64 `json:"boot"`
	// Ends are the keys of the last events of the boots before, the newest last.
	Ends []string `json:"boot_ends,omitempty"`
}

// maxBootEnds is how many of them are kept, and told: the end of a boot is known to consumers
// although the boots after it were lost, too.
const maxBootEnds = 16

// curveOrder is n of secp256k1 (SEC 2, 2.4.1): a scalar is above 0 and below it.
const curveOrder = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"

const (
	// bootBits of a boot are random.
	bootBits = 20
	// maxBoot bounds a stored boot: those of the clock reach it in the year 2248.
	maxBoot = 1 << 63
)

// nextBoot is greater than the stored boot and than the clock (Unix milliseconds above
// the random bits): a data directory that is restored from an older copy must not repeat
// a boot, and two copies of one directory must not share one. The stored boot decides
// when the clock was set back.
func nextBoot(stored uint64, now time.Time) uint64 {
	var random [8]byte
	rand.Read(random[:]) // never fails
	return max(stored, uint64(max(0, now.UnixMilli()))<<bootBits) + 1 + binary.LittleEndian.Uint64(random[:])>>(64-bootBits)
}

// LoadIdentity reads the identity in the data directory, or creates one there, and
// gives this start its boot. It returns once both files are fsynced: an event key must
// never repeat. A file that cannot be read is an error that names it; it is never
// replaced, since that would make us another node.
func LoadIdentity(dir string) (Identity, error) {
	key, err := loadKey(filepath.Join(dir, keyFile))
	if err != nil {
		return Identity{}, err
	}
	path := filepath.Join(dir, identityFile)
	stored, err := loadStored(path)
	if err != nil {
		return Identity{}, err
	}
	stored.Boot = nextBoot(stored.Boot, time.Now())
	if err := stored.save(path); err != nil {
		return Identity{}, err
	}
	return Identity{Key: key, ID: stored.ID, Boot: stored.Boot}, nil
}

// RememberBootEnd adds the key of the newest event of an earlier boot to those in the data
// directory, unless it is empty, and returns them, the newest last.
func RememberBootEnd(dir, end string) ([]string, error) {
	path := filepath.Join(dir, identityFile)
	stored, err := loadStored(path)
	if err != nil {
		return nil, err
	}
	if end == "" || slices.Contains(stored.Ends, end) {
		return stored.Ends, nil
	}
	stored.Ends = append(stored.Ends, end)
	stored.Ends = stored.Ends[max(0, len(stored.Ends)-maxBootEnds):]
	return stored.Ends, stored.save(path)
}

func (s storedIdentity) save(path string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return diskio.ReplaceFile(path, append(text, '\n'), 0o644)
}

func loadKey(path string) ([]byte, error) {
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = newKey()
		return key, diskio.ReplaceFile(path, append([]byte(hex.EncodeToString(key)), '\n'), 0o600)
	}
	return key, err
}

func readKey(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read sentry key: %w", err)
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || !validScalar(key) {
		return nil, fmt.Errorf("sentry key file %s is damaged: want 64 hex digits of a secp256k1 key; restore it, or remove it to become a new node", path)
	}
	return key, nil
}

func newKey() []byte {
	for {
		key := make([]byte, 32)
		rand.Read(key) // never fails
		if validScalar(key) {
			return key
		}
	}
}

func validScalar(key []byte) bool {
	if len(key) != 32 || bytes.Count(key, []byte{0}) == len(key) {
		return false
	}
	return hex.EncodeToString(key) < curveOrder
}

func loadStored(path string) (storedIdentity, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return storedIdentity{ID: rand.Text()}, nil
	}
	if err != nil {
		return storedIdentity{}, fmt.Errorf("read sentry identity: %w", err)
	}
	var s storedIdentity
	if err := json.Unmarshal(text, &s); err != nil || s.ID == "" || s.Boot > maxBoot {
		return s, fmt.Errorf("sentry identity file %s is damaged: want {\"sentry_id\": ..., \"boot\": ...}; restore it, or remove it to start with a new id", path)
	}
	s.Ends = slices.DeleteFunc(s.Ends, func(end string) bool { _, err := event.ParseKey(end); return err != nil })
	return s, nil
}
