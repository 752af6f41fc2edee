package eth2

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
)

// FarFutureEpoch marks a fork that is not scheduled (consensus-specs
// phase0/beacon-chain.md, FAR_FUTURE_EPOCH).
const FarFutureEpoch Epoch = math.MaxUint64

// Subnet and custody counts that are the same on every network
// (consensus-specs phase0/p2p-interface.md, altair/validator.md, fulu/das-core.md).
const (
	AttestationSubnetCount   = 64
	SyncCommitteeSubnetCount = 4
	SubnetsPerNode           = 2
	EpochsPerSubnetPeriod    = 256
	NumberOfCustodyGroups    = 128
	NumberOfColumns          = 128
	CustodyRequirement       = 4
	// ValidatorCustodyRequirement is the least custody group count of a node with any
	// validators (fulu/validator.md).
	ValidatorCustodyRequirement = 8
)

type (
	// Slot counts slots since genesis.
	Slot uint64
	// Epoch counts epochs since genesis.
	Epoch uint64
	// ForkDigest names a network and fork on the wire.
	ForkDigest [4]byte
	// Version is a fork version.
	Version [4]byte
	// Root is a 32-byte hash tree root.
	Root [32]byte
	// NodeID is the discv5 node id, big endian: keccak256 of the uncompressed public key.
	NodeID [32]byte
)

func (d ForkDigest) String() string { return hex0x(d[:]) }
func (v Version) String() string    { return hex0x(v[:]) }
func (r Root) String() string       { return hex0x(r[:]) }
func (n NodeID) String() string     { return hex0x(n[:]) }

// MarshalText gives lower-case hex with 0x.
func (d ForkDigest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText accepts 4 bytes of hex, with or without 0x.
func (d *ForkDigest) UnmarshalText(b []byte) error { return parseHex(d[:], b, "fork digest") }

// MarshalText gives lower-case hex with 0x.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText accepts 4 bytes of hex, with or without 0x.
func (v *Version) UnmarshalText(b []byte) error { return parseHex(v[:], b, "fork version") }

// MarshalText gives lower-case hex with 0x.
func (r Root) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText accepts 32 bytes of hex, with or without 0x.
func (r *Root) UnmarshalText(b []byte) error { return parseHex(r[:], b, "root") }

// MarshalText gives lower-case hex with 0x.
func (n NodeID) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText accepts 32 bytes of hex, with or without 0x.
func (n *NodeID) UnmarshalText(b []byte) error { return parseHex(n[:], b, "node id") }

// hex0x writes up to 32 bytes.
func hex0x(b []byte) string {
	text := [2 + 2*32]byte{'0', 'x'}
	return string(text[:2+hex.Encode(text[2:], b)])
}

func parseHex(dst, text []byte, what string) error {
	s := strings.TrimPrefix(string(text), "0x")
	if len(s) != 2*len(dst) {
		return fmt.Errorf("%s %.80q: want %d bytes of hex, got %d characters", what, text, len(dst), len(s))
	}
	if _, err := hex.Decode(dst, []byte(s)); err != nil {
		return fmt.Errorf("%s %.80q: %w", what, text, err)
	}
	return nil
}
