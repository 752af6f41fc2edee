package enr

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	textPrefix = "enr:"
	// maxText bounds the text form: the prefix and the base64 of a record of the
	// largest size that EIP-778 allows (300 bytes).
	maxText = len(textPrefix) + (gethenr.SizeLimit*8+5)/6
)

// maxPasted bounds what Parse looks at: a record in text form and what surrounds it.
const maxPasted = 2 * maxText

// Parse decodes the text form of a record, "enr:...", as people paste it: with or without
// the prefix, in quotes, wrapped over lines, with base64 padding, in the other base64
// alphabet. Record.Raw is the usual form. An error means that the record as a whole is bad:
// its text, size, RLP or signature. A bad entry in a good record is listed in Record.Errors.
func Parse(text string) (Record, error) {
	usual, err := usualText(text)
	var n *enode.Node
	if err == nil {
		if n, err = enode.Parse(enode.ValidSchemes, usual); err == nil {
			return FromNode(n), nil
		}
		err = explain(err)
	}
	return Record{}, fmt.Errorf("ENR %.80q: %w", strings.TrimSpace(text[:min(len(text), maxPasted)]), err)
}

// explain says what is wrong with a record and what is expected: the errors of the libraries
// presume that the reader knows the encoding.
func explain(err error) error {
	why := "it is incomplete or damaged"
	var letters base64.CorruptInputError
	switch {
	case errors.As(err, &letters):
		why = "it has characters that are not base64, or is cut"
	case errors.Is(err, gethenr.ErrInvalidSig):
		why = "its signature is wrong"
	}
	return fmt.Errorf("%s (%w); want the complete text of a node record, %q and base64", why, err, textPrefix)
}

// pasted maps the characters around and within a pasted record: white space, byte order
// marks, quotes and list commas go, the characters of standard base64 become those of URLs.
func pasted(r rune) rune {
	switch {
	case unicode.IsSpace(r), strings.ContainsRune("\"'`,;\ufeff\u200b\u00a0\u201c\u201d\u2018\u2019", r):
		return -1
	case r == '+':
		return '-'
	case r == '/':
		return '_'
	}
	return r
}

// usualText is the text with the prefix and in the alphabet that enode.Parse wants. It
// refuses what enode.Parse would take beyond a record (enode:// URLs) and bounds its work.
func usualText(text string) (string, error) {
	if len(text) > maxPasted {
		return "", tooLong(len(text))
	}
	if scheme, _, ok := strings.Cut(text, "://"); ok && !strings.EqualFold(strings.TrimSpace(scheme), "enr") {
		return "", errors.New(`is a URL, not a record, which begins with "enr:"`)
	}
	text = strings.Map(pasted, text)
	if len(text) >= len(textPrefix) && strings.EqualFold(text[:len(textPrefix)], textPrefix) {
		text = strings.TrimPrefix(text[len(textPrefix):], "__") // "enr://"
	}
	text = textPrefix + strings.TrimRight(text, "=")
	return text, checkText(text)
}

// checkText accepts only the usual form, as far as that shows without decoding it.
func checkText(text string) error {
	switch {
	case !strings.HasPrefix(text, textPrefix):
		return errors.New(`the text must begin with "enr:"`)
	case len(text) == len(textPrefix):
		return errors.New("the record is empty")
	case len(text) > maxText:
		return tooLong(len(text))
	}
	return nil
}

func tooLong(characters int) error {
	return fmt.Errorf("%d characters: a record has at most %d bytes, %d characters", characters, gethenr.SizeLimit, maxText)
}

// IsBare reports whether the text looks like a record without its prefix, good or bad. Such
// a text begins with "-", since all records of 56 bytes and more do: on a command line it
// looks like an option.
func IsBare(text string) bool {
	const shortest = 56 * 8 / 6 // characters
	body := strings.TrimRight(text, "=")
	if len(body) < shortest || len(body) > maxPasted || body[0] != '-' || body[1] == '-' {
		return false
	}
	return strings.IndexFunc(body, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}

// FromNode decodes a record whose signature go-ethereum has already verified.
func FromNode(n *enode.Node) Record {
	r := Record{Raw: n.String(), Seq: n.Seq(), NodeID: eth2.NodeID(n.ID())}
	r.decode(n, entries())
	return r
}

// Restore decodes a record that was verified before it was stored, without the
// cost of its cryptography: the signature is not checked, and the ids, which are
// made from the key, are taken as given. An error means that the text is no record.
func Restore(text, peerID string, nodeID eth2.NodeID) (Record, error) {
	if err := checkText(text); err != nil {
		return Record{}, fmt.Errorf("ENR %.80q: %w", text, err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(text[len(textPrefix):])
	if err != nil {
		return Record{}, fmt.Errorf("ENR %.80q: %w", text, err)
	}
	var stored gethenr.Record
	if err := rlp.DecodeBytes(raw, &stored); err != nil {
		return Record{}, fmt.Errorf("ENR %.80q: %w", text, err)
	}
	r := Record{Raw: text, Seq: stored.Seq(), NodeID: nodeID, PeerID: peerID}
	r.decode(&stored, entries()[1:]) // all but the key
	return r, nil
}

// decode reads the entries of src.
func (r *Record) decode(src loader, entries []entry) {
	for _, e := range entries {
		value, present, err := rawEntry(src, e.key)
		if !present {
			continue
		}
		if err == nil {
			err = e.decode(r, value)
		}
		if err != nil {
			r.Errors = append(r.Errors, EntryError{Key: e.key, Err: err.Error()})
		}
	}
}
