package eth2

import "math/bits"

// Attnets is the SSZ Bitvector[64] of attestation subnets: subnet i is bit i%8
// of byte i/8.
type Attnets [8]byte

// Syncnets is the SSZ Bitvector[4] of sync committee subnets, in the low bits.
type Syncnets uint8

// NewAttnets sets the bits of the given subnets; numbers outside 0..63 are ignored.
func NewAttnets(subnets []int) (a Attnets) {
	for _, s := range subnets {
		if s >= 0 && s < AttestationSubnetCount {
			a[s/8] |= 1 << (s % 8)
		}
	}
	return a
}

// Subnets lists the set bits, ascending. Never nil.
func (a Attnets) Subnets() []int {
	out := make([]int, 0, a.Count())
	for i := range AttestationSubnetCount {
		if a.Has(i) {
			out = append(out, i)
		}
	}
	return out
}

// Has reports whether subnet i is set; a number outside 0..63 is not.
func (a Attnets) Has(i int) bool {
	return i >= 0 && i < AttestationSubnetCount && a[i/8]>>(i%8)&1 == 1
}

// Count is the number of set bits.
func (a Attnets) Count() (n int) {
	for _, b := range a {
		n += bits.OnesCount8(b)
	}
	return n
}

func (a Attnets) String() string { return hex0x(a[:]) }

// MarshalText gives lower-case hex with 0x.
func (a Attnets) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText accepts 8 bytes of hex, with or without 0x.
func (a *Attnets) UnmarshalText(b []byte) error { return parseHex(a[:], b, "attnets") }

// Subnets lists the set bits among the low four, ascending. Never nil.
func (s Syncnets) Subnets() []int {
	out := make([]int, 0, SyncCommitteeSubnetCount)
	for i := range SyncCommitteeSubnetCount {
		if s>>i&1 == 1 {
			out = append(out, i)
		}
	}
	return out
}

func (s Syncnets) String() string { return hex0x([]byte{byte(s)}) }

// MarshalText gives lower-case hex with 0x.
func (s Syncnets) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts 1 byte of hex, with or without 0x.
func (s *Syncnets) UnmarshalText(b []byte) error {
	var v [1]byte
	if err := parseHex(v[:], b, "syncnets"); err != nil {
		return err
	}
	*s = Syncnets(v[0])
	return nil
}
