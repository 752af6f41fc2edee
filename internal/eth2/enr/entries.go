package enr

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Eth2Entry is the eth2 entry: 16 bytes of SSZ ENRForkID.
func Eth2Entry(id eth2.ENRForkID) gethenr.Entry { return gethenr.WithEntry("eth2", id.MarshalSSZ()) }

// AttnetsEntry is the attnets entry: 8 bytes.
func AttnetsEntry(a eth2.Attnets) gethenr.Entry { return gethenr.WithEntry("attnets", a[:]) }

// SyncnetsEntry is the syncnets entry: 1 byte.
func SyncnetsEntry(s eth2.Syncnets) gethenr.Entry {
	return gethenr.WithEntry("syncnets", []byte{byte(s)})
}

// CGCEntry is the cgc entry, the custody group count: big endian without leading
// zeros, 0 as the empty string, which is how RLP writes a number.
func CGCEntry(count uint64) gethenr.Entry { return gethenr.WithEntry("cgc", count) }

// NFDEntry is the nfd entry: the next fork digest, zero when none is scheduled.
func NFDEntry(d eth2.ForkDigest) gethenr.Entry { return gethenr.WithEntry("nfd", d[:]) }

// maxClientVersion bounds the version in a client entry, in bytes: with it and every entry of
// ours a record stays within the 300 bytes of EIP-778.
const maxClientVersion = 20

// ClientEntry is the client entry (EIP-7636): an RLP list of a program's name and version, of
// which a longer one, as of a build between releases, is cut.
func ClientEntry(name, version string) gethenr.Entry {
	return gethenr.WithEntry("client", []string{name, version[:min(len(version), maxClientVersion)]})
}

// Client is what the client entry of a record says.
type Client struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Build   string `json:"build,omitempty"`
}

// ClientOf reads the client entry of a record in its usual form (Record.Raw); nil without one. It is
// what the node wrote, and as short as a record. It is no part of Record, which is kept of every node.
func ClientOf(raw string) (*Client, error) {
	n, err := enode.Parse(enode.ValidSchemes, raw)
	if err != nil {
		return nil, err
	}
	var list []string
	switch err := n.Load(gethenr.WithEntry("client", &list)); {
	case gethenr.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, errors.Unwrap(err)
	case len(list) < 2 || len(list) > 3:
		return nil, fmt.Errorf("%d strings: want a name, a version and, where there is one, a build", len(list))
	}
	return &Client{list[0], list[1], strings.Join(list[2:], "")}, nil
}

// QUICEntry is the quic entry: the UDP port of libp2p QUIC over IPv4.
func QUICEntry(port uint16) gethenr.Entry { return gethenr.WithEntry("quic", port) }

// QUIC6Entry is the quic6 entry: the UDP port of libp2p QUIC over IPv6.
func QUIC6Entry(port uint16) gethenr.Entry { return gethenr.WithEntry("quic6", port) }
