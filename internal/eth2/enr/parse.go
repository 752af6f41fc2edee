package enr

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

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

// Parse decodes the text form of a record, "enr:..."; spaces around it are
// ignored. An error means that the record as a whole is bad: its text, size, RLP
// or signature. A bad entry in a good record is listed in Record.Errors.
func Parse(text string) (Record, error) {
	text = strings.TrimSpace(text)
	if err := checkText(text); err != nil {
		return Record{}, fmt.Errorf("ENR %.80q: %w", text, err)
	}
	n, err := enode.Parse(enode.ValidSchemes, text)
	if err != nil {
		return Record{}, fmt.Errorf("ENR %.80q: %w", text, err)
	}
	return FromNode(n), nil
}

// checkText refuses what enode.Parse would take beyond a record (enode:// URLs)
// and bounds its work.
func checkText(text string) error {
	switch {
	case !strings.HasPrefix(text, textPrefix):
		return errors.New(`the text must begin with "enr:"`)
	case len(text) == len(textPrefix):
		return errors.New("the record is empty")
	case len(text) > maxText:
		return fmt.Errorf("%d characters: a record has at most %d bytes, %d characters", len(text), gethenr.SizeLimit, maxText)
	}
	return nil
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
