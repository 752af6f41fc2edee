package discv5

import (
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
)

const (
	// lowestRelayedPort: go-ethereum leaves records with a lower UDP port out of the
	// answers that it returns. Nodes at 443 or 53, which firewalls let through, are
	// ordinary nodes.
	lowestRelayedPort = 1025
	lowPortQueue      = 64
)

// lowPortScheme is the identity scheme that go-ethereum checks the records of answers
// with. It sees those that are left out for their port afterwards, and keeps them.
type lowPortScheme struct {
	*verified
	records chan<- *enode.Node
}

// Verify implements enr.IdentityScheme.
func (s lowPortScheme) Verify(r *gethenr.Record, sig []byte) error {
	if err := s.verified.Verify(r, sig); err != nil {
		return err
	}
	var udp gethenr.UDP
	var udp6 gethenr.UDP6
	_, _ = r.Load(&udp), r.Load(&udp6) // stay 0 when the record has none
	if udp >= lowestRelayedPort && (udp6 == 0 || udp6 >= lowestRelayedPort) {
		return nil
	}
	id := s.NodeAddr(r)
	if len(id) != len(enode.ID{}) {
		return nil
	}
	n, err := enode.New(trusted(enode.ID(id)), r)
	if err != nil || n.UDP() == 0 || n.UDP() >= lowestRelayedPort {
		return nil //nolint:nilerr // the signature is good, which is what was asked
	}
	select {
	case s.records <- n:
	default: // others will report it again
	}
	return nil
}
