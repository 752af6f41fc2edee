package sentry

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// NewExclude is the list of an exclude file, unless path is empty, and of further entries
// of its kinds.
func NewExclude(path string, entries []string) (*Exclude, error) {
	x := &Exclude{path: path}
	if path == "" {
		r, err := parseRules(strings.NewReader(""), "", true)
		if err != nil {
			return nil, err
		}
		x.rules.Store(r)
	} else if err := x.read(true); err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !x.rules.Load().add(strings.TrimSpace(entry)) {
			return nil, fmt.Errorf("%.80q: want a peer id, a node id (64 hex digits), an IP address or a network such as 10.0.0.0/8", entry)
		}
	}
	return x, nil
}

// Follow reads the file of a list again when it has changed, within a minute, until ctx ends.
func (x *Exclude) Follow(ctx context.Context, log *slog.Logger) {
	if x == nil {
		return
	}
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			x.reloadLogged(log)
		}
	}
}

// reloadLogged reads the file again if it has changed.
func (x *Exclude) reloadLogged(log *slog.Logger) (changed bool) {
	changed, err := x.reload()
	if err != nil {
		log.Error("the exclude file is invalid: the previous list stays in force", slog.Any("error", err))
		return false
	}
	if changed {
		log.Info("reloaded the exclude file", slog.String("file", x.path), slog.Int("entries", x.Len()))
	}
	return changed
}

// Entries are those of a list made by NewExclude, as they were written.
func (x *Exclude) Entries() []string { return x.rules.Load().entries }

// HasAddresses reports whether there are entries that are addresses or networks.
func (x *Exclude) HasAddresses() bool { return x != nil && len(x.rules.Load().nets) > 0 }

// Multiaddr reports whether the address that a multiaddr begins with is excluded.
func (x *Exclude) Multiaddr(text string) bool { return x != nil && x.Address(addressIn(text)) }

// Text reports whether a text, such as an event's JSON in any state, names an excluded peer:
// by its node id, record or address, or by a peer id for which peer is true.
func (x *Exclude) Text(text []byte, peer func(id string) bool) bool {
	const maxWord = 1 << 10 // no name of a peer is longer
	for word := range bytes.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune("\" \t\r\n,;[]{}()<>'\\", r) }) {
		if len(word) <= maxWord && x.word(string(word), peer) {
			return true
		}
	}
	return false
}

func (x *Exclude) word(word string, peer func(id string) bool) bool {
	if id, ok := parseNodeID(word); ok && x.node(id) {
		return true
	}
	if strings.HasPrefix(word, "enr:") {
		r, err := enr.Parse(word)
		return err == nil && x.record(&r)
	}
	for part := range strings.SplitSeq(word, "/") { // of a multiaddr, which may end in a peer id
		addr, err := netip.ParseAddr(part)
		if err != nil {
			at, _ := netip.ParseAddrPort(part)
			addr = at.Addr()
		}
		if x.Address(addr) || peer(part) {
			return true
		}
	}
	return false
}
