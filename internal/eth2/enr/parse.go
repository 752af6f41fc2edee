package enr

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

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
	for _, e := range entries() {
		value, present, err := rawEntry(n, e.key)
		if !present {
			continue
		}
		if err == nil {
			err = e.decode(&r, value)
		}
		if err != nil {
			r.Errors = append(r.Errors, EntryError{Key: e.key, Err: err.Error()})
		}
	}
	return r
}
