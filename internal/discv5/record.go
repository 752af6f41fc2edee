package discv5

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

// trusted is the identity scheme of a record that was verified before, of the node
// with this id.
type trusted enode.ID

// Verify implements enr.IdentityScheme.
func (trusted) Verify(*gethenr.Record, []byte) error { return nil }

// NodeAddr implements enr.IdentityScheme.
func (id trusted) NodeAddr(*gethenr.Record) []byte { return id[:] }

// verifiedBefore decodes the text of a record whose signature has been checked and
// found to be of the node, without the cost of checking it again.
func verifiedBefore(text string, id enode.ID) (*enode.Node, error) {
	encoded, ok := strings.CutPrefix(text, "enr:")
	if !ok {
		return nil, errors.New(`a record begins with "enr:"`)
	}
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("base64 of a record: %w", err)
	}
	var r gethenr.Record
	if err := rlp.DecodeBytes(raw, &r); err != nil {
		return nil, fmt.Errorf("RLP of a record: %w", err)
	}
	return enode.New(trusted(id), &r)
}

// hasEndpoint reports whether the node's record before has the UDP endpoint of the
// new one.
func (n *node) hasEndpoint(record *enode.Node) bool {
	old, err := verifiedBefore(n.text, n.id)
	if err != nil {
		return false
	}
	before, _ := old.UDPEndpoint()
	after, _ := record.UDPEndpoint()
	return before == after
}

// digestOf is the fork digest of a record; false when it has no legible eth2 entry.
func digestOf(record *enode.Node) (eth2.ForkDigest, bool) {
	var raw []byte
	if err := record.Load(gethenr.WithEntry("eth2", &raw)); err != nil {
		return eth2.ForkDigest{}, false
	}
	var id eth2.ENRForkID
	if id.UnmarshalSSZ(raw) != nil {
		return eth2.ForkDigest{}, false
	}
	return id.ForkDigest, true
}
