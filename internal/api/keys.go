package api

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Scopes of keys.
const (
	ScopePublic = "public" // the view without addresses, with a rate limit of its own
	ScopeFull   = "full"
)

const (
	keyBytes    = 24      // of a new key, random
	longestKey  = 256     // bytes, of what a client sends
	keysFileMax = 1 << 20 // bytes
	maxKeys     = 10_000
	// keysPoll is how often the file is looked at.
	keysPoll = 2 * time.Second
)

// key is one line of a keys file.
type key struct {
	hash    [sha256.Size]byte
	name    string
	scope   string
	revoked bool
}

// NewKey makes a key and the line of a keys file that allows it.
func NewKey(name, scope string) (text, line string, err error) {
	var b [keyBytes]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", "", err
	}
	text = "vt_" + base64.RawURLEncoding.EncodeToString(b[:])
	line = fmt.Sprintf("%x %s %s", sha256.Sum256([]byte(text)), name, scope)
	if _, err := parseKey(line); err != nil {
		return "", "", err
	}
	return text, line, nil
}

// parseKeys reads a keys file: one key per line, as
//
//	<SHA-256 of the key, 64 hex digits> <name> [public|full] [revoked]
//
// Empty lines and those that begin with # are skipped. A key without a scope is full.
func parseKeys(r io.Reader) ([]key, error) {
	text, err := io.ReadAll(io.LimitReader(r, keysFileMax+1))
	if err != nil {
		return nil, err
	}
	if len(text) > keysFileMax {
		return nil, fmt.Errorf("larger than %d bytes", keysFileMax)
	}
	var keys []key
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		for _, other := range keys {
			if other.hash == k.hash {
				return nil, fmt.Errorf("line %d: the hash of %q is that of %q", i+1, k.name, other.name)
			}
		}
		if keys = append(keys, k); len(keys) > maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
	}
	return keys, nil
}

func parseKey(line string) (k key, err error) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return k, fmt.Errorf("%q: want <SHA-256> <name> [public|full] [revoked], as 'valtrack check key NAME' prints it", shorten(line))
	}
	hash, err := hex.DecodeString(words[0])
	if err != nil || len(hash) != sha256.Size {
		return k, fmt.Errorf("%q: want the SHA-256 of the key, %d hex digits", shorten(words[0]), 2*sha256.Size)
	}
	k = key{hash: [sha256.Size]byte(hash), name: words[1], scope: ScopeFull}
	for _, word := range words[2:] {
		switch word {
		case ScopePublic, ScopeFull:
			k.scope = word
		case "revoked":
			k.revoked = true
		default:
			return k, fmt.Errorf("%q of key %q: want public, full or revoked", shorten(word), k.name)
		}
	}
	return k, nil
}

// keyring holds the keys of a file, which it reads again when that changes. An error keeps
// the keys of before, so that a mistake locks nobody out, and nobody in.
type keyring struct {
	path string
	warn func(error) // nil error: the file is read again

	mu     sync.RWMutex
	keys   []key
	text   []byte // of the file
	failed string // the last error
}

// openKeys reads a keys file; an empty path has no keys.
func openKeys(path string, warn func(error)) (*keyring, error) {
	k := &keyring{path: path, warn: warn}
	if path == "" {
		return k, nil
	}
	text, err := readKeys(path)
	if err != nil {
		return nil, fmt.Errorf("keys file: %w", err)
	}
	if k.keys, err = parseKeys(bytes.NewReader(text)); err != nil {
		return nil, fmt.Errorf("keys file %s: %w", path, err)
	}
	k.text = text
	return k, nil
}

// readKeys reads a keys file, up to one byte more than it may have. A pipe would wait for its
// writer.
func readKeys(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, fmt.Errorf("%s is not a regular file", path))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, keysFileMax+1))
}

// reload reads the file again when its content has changed.
func (k *keyring) reload() {
	text, err := readKeys(k.path)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && bytes.Equal(text, k.text) && k.failed == "" {
		return
	}
	keys := k.keys
	if err == nil {
		keys, err = parseKeys(bytes.NewReader(text))
	}
	if err != nil {
		if k.failed != err.Error() {
			k.warn(fmt.Errorf("keys file %s: %w; the keys of before stay valid", k.path, err))
		}
		k.failed = err.Error()
		return
	}
	if !bytes.Equal(text, k.text) || k.failed != "" {
		k.warn(nil)
	}
	k.keys, k.text, k.failed = keys, text, ""
}

// caller is who asks.
type caller struct {
	name string // of the key; empty without one
	full bool
}

// caller finds whose key a request has. All keys are compared, in constant time.
func (k *keyring) caller(r *http.Request) (caller, *problem) {
	text, given := r.Header.Get("X-API-Key"), len(r.Header.Values("X-API-Key")) > 0
	if auth := r.Header.Get("Authorization"); auth != "" && !given {
		scheme, rest, _ := strings.Cut(auth, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return caller{}, unauthorized("the Authorization header has the scheme %s: want Bearer, or send the key as X-API-Key", shorten(scheme))
		}
		text, given = strings.TrimSpace(rest), true
	}
	switch {
	case !given:
		return caller{}, nil
	case text == "":
		return caller{}, unauthorized("the key is empty: leave the header out for the public view")
	case len(text) > longestKey:
		return caller{}, unauthorized("the key is longer than %d bytes", longestKey)
	}
	hash := sha256.Sum256([]byte(text))
	k.mu.RLock()
	defer k.mu.RUnlock()
	found := -1
	for i := range k.keys {
		if subtle.ConstantTimeCompare(hash[:], k.keys[i].hash[:]) == 1 {
			found = i
		}
	}
	switch {
	case found < 0:
		return caller{}, unauthorized("the key is not known: leave it out for the public view")
	case k.keys[found].revoked:
		return caller{}, unauthorized("the key %s was revoked", k.keys[found].name)
	}
	return caller{name: k.keys[found].name, full: k.keys[found].scope == ScopeFull}, nil
}

func unauthorized(detail string, args ...any) *problem {
	return newProblem(http.StatusUnauthorized, detail, args...)
}
