package api

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
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
	watchedFiles
	mu   sync.RWMutex
	keys []key
}

// ErrKeysFile is the error of Listen when the keys file cannot be used.
var ErrKeysFile = errors.New("keys file")

// openKeys reads a keys file; an empty path has no keys. report is called with nil when a new
// content was taken up, and with the error otherwise.
func openKeys(path string, report func(error)) (*keyring, error) {
	k := &keyring{}
	if path == "" {
		return k, nil
	}
	k.watchedFiles = watchedFiles{paths: []string{path}, load: k.load, report: func(err error) {
		if err != nil {
			err = fmt.Errorf("keys file %s: %w; the previous keys stay valid", path, err)
		}
		report(err)
	}}
	if _, err := k.read(); err != nil { // which names the path
		return nil, fmt.Errorf("%w: %w", ErrKeysFile, err)
	}
	if err := k.open(); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrKeysFile, path, err)
	}
	return k, nil
}

func (k *keyring) load(contents [][]byte) error {
	keys, err := parseKeys(bytes.NewReader(contents[0]))
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = keys
	return nil
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
			return caller{}, unauthorized(codeMalformed, "the Authorization header has the scheme %s: want Bearer, or send the key as X-API-Key", shorten(scheme))
		}
		text, given = strings.TrimSpace(rest), true
	}
	switch {
	case !given:
		return caller{}, nil
	case text == "":
		return caller{}, unauthorized(codeMalformed, "the key is empty: omit the header for the public view")
	case len(text) > longestKey:
		return caller{}, unauthorized(codeMalformed, "the key is longer than %d bytes", longestKey)
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
		return caller{}, unauthorized(codeUnknown, "unknown key: omit it for the public view")
	case k.keys[found].revoked:
		return caller{}, unauthorized(codeRevoked, "the key %s was revoked", k.keys[found].name)
	}
	return caller{name: k.keys[found].name, full: k.keys[found].scope == ScopeFull}, nil
}

// Codes of problems with keys.
const (
	codeRequired  = "key_required" // no key was sent
	codeScope     = "key_scope"    // the key does not show addresses
	codeUnknown   = "key_unknown"
	codeRevoked   = "key_revoked"
	codeMalformed = "key_malformed" // what was sent is no key
)

func unauthorized(code, detail string, args ...any) *problem {
	p := newProblem(http.StatusUnauthorized, detail, args...)
	p.Code = code
	return p
}

// needsKey is the problem of a caller who may not see what a text says.
func (r *request) needsKey(what string) *problem {
	if r.caller.name == "" {
		p := newProblem(http.StatusForbidden, "%s needs a key", what)
		p.Code = codeRequired
		return p
	}
	p := newProblem(http.StatusForbidden, "%s needs a key of scope %s: %s has the scope %s", what, ScopeFull, r.caller.name, ScopePublic)
	p.Code = codeScope
	return p
}
