package eth2

import (
	"encoding/binary"
	"fmt"
)

// SSZ sizes of the containers on the wire, in bytes.
const (
	StatusV1Size   = 84
	StatusV2Size   = 92
	MetaDataV1Size = 16
	MetaDataV2Size = 17
	MetaDataV3Size = 25
	Uint64Size     = 8 // Ping, Goodbye
	enrForkIDSize  = 16
)

// Goodbye reasons (consensus-specs phase0/p2p-interface.md, and the clients' own
// from 128 on).
const (
	GoodbyeIrrelevantNetwork uint64 = 2
	GoodbyeFault             uint64 = 3
	GoodbyeTooManyPeers      uint64 = 129
)

// Status is the Status message, version 1 or 2 (fulu/p2p-interface.md).
type Status struct {
	ForkDigest     ForkDigest
	FinalizedRoot  Root
	FinalizedEpoch Epoch
	HeadRoot       Root
	HeadSlot       Slot
	// EarliestAvailableSlot is nil in a version 1 message.
	EarliestAvailableSlot *Slot
}

// MarshalSSZ encodes s as the given version: 1 (84 bytes) or 2 (92 bytes, a nil
// EarliestAvailableSlot becomes 0).
func (s Status) MarshalSSZ(version int) []byte {
	b := make([]byte, 0, StatusV2Size)
	b = append(b, s.ForkDigest[:]...)
	b = append(b, s.FinalizedRoot[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.FinalizedEpoch))
	b = append(b, s.HeadRoot[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.HeadSlot))
	if version >= 2 {
		var earliest Slot
		if s.EarliestAvailableSlot != nil {
			earliest = *s.EarliestAvailableSlot
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(earliest))
	}
	return b
}

// UnmarshalSSZ decodes 84 bytes as version 1 and 92 as version 2; any other
// length is an error.
func (s *Status) UnmarshalSSZ(b []byte) error {
	if len(b) != StatusV1Size && len(b) != StatusV2Size {
		return fmt.Errorf("status of %d bytes: want %d or %d", len(b), StatusV1Size, StatusV2Size)
	}
	*s = Status{
		ForkDigest:     ForkDigest(b[0:4]),
		FinalizedRoot:  Root(b[4:36]),
		FinalizedEpoch: Epoch(binary.LittleEndian.Uint64(b[36:44])),
		HeadRoot:       Root(b[44:76]),
		HeadSlot:       Slot(binary.LittleEndian.Uint64(b[76:84])),
	}
	if len(b) == StatusV2Size {
		earliest := Slot(binary.LittleEndian.Uint64(b[84:92]))
		s.EarliestAvailableSlot = &earliest
	}
	return nil
}

// MetaData is the MetaData message of version 1 to 3 (phase0, altair and
// fulu/p2p-interface.md).
type MetaData struct {
	SeqNumber uint64
	Attnets   Attnets
	// Syncnets is nil in version 1.
	Syncnets *Syncnets
	// CustodyGroupCount is nil in versions 1 and 2.
	CustodyGroupCount *uint64
}

// MarshalSSZ encodes m as version 1, 2 or 3; nil fields become 0.
func (m MetaData) MarshalSSZ(version int) []byte {
	b := make([]byte, 0, MetaDataV3Size)
	b = binary.LittleEndian.AppendUint64(b, m.SeqNumber)
	b = append(b, m.Attnets[:]...)
	if version >= 2 {
		var sync Syncnets
		if m.Syncnets != nil {
			sync = *m.Syncnets
		}
		b = append(b, byte(sync))
	}
	if version >= 3 {
		var cgc uint64
		if m.CustodyGroupCount != nil {
			cgc = *m.CustodyGroupCount
		}
		b = binary.LittleEndian.AppendUint64(b, cgc)
	}
	return b
}

// UnmarshalSSZ decodes 16, 17 or 25 bytes as version 1, 2 or 3. Syncnets bits
// above the fourth are an error, as SSZ demands of a Bitvector[4].
func (m *MetaData) UnmarshalSSZ(b []byte) error {
	if len(b) != MetaDataV1Size && len(b) != MetaDataV2Size && len(b) != MetaDataV3Size {
		return fmt.Errorf("metadata of %d bytes: want %d, %d or %d", len(b), MetaDataV1Size, MetaDataV2Size, MetaDataV3Size)
	}
	*m = MetaData{SeqNumber: binary.LittleEndian.Uint64(b[0:8]), Attnets: Attnets(b[8:16])}
	if len(b) >= MetaDataV2Size {
		if b[16] > 0x0f {
			return fmt.Errorf("metadata: syncnets %#02x has bits above the fourth", b[16])
		}
		sync := Syncnets(b[16])
		m.Syncnets = &sync
	}
	if len(b) == MetaDataV3Size {
		cgc := binary.LittleEndian.Uint64(b[17:25])
		m.CustodyGroupCount = &cgc
	}
	return nil
}

// ENRForkID is the value of the ENR's eth2 entry (phase0/p2p-interface.md, and
// fulu for next_fork_epoch including blob-parameter-only forks).
type ENRForkID struct {
	ForkDigest      ForkDigest `json:"fork_digest"`
	NextForkVersion Version    `json:"next_fork_version"`
	NextForkEpoch   Epoch      `json:"next_fork_epoch"`
}

// MarshalSSZ gives 16 bytes.
func (f ENRForkID) MarshalSSZ() []byte {
	b := make([]byte, 0, enrForkIDSize)
	b = append(b, f.ForkDigest[:]...)
	b = append(b, f.NextForkVersion[:]...)
	return binary.LittleEndian.AppendUint64(b, uint64(f.NextForkEpoch))
}

// UnmarshalSSZ accepts exactly 16 bytes.
func (f *ENRForkID) UnmarshalSSZ(b []byte) error {
	if len(b) != enrForkIDSize {
		return fmt.Errorf("eth2 entry of %d bytes: want %d", len(b), enrForkIDSize)
	}
	*f = ENRForkID{ForkDigest: ForkDigest(b[0:4]), NextForkVersion: Version(b[4:8]), NextForkEpoch: Epoch(binary.LittleEndian.Uint64(b[8:16]))}
	return nil
}

// MarshalUint64 is the SSZ form of Ping and Goodbye.
func MarshalUint64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// UnmarshalUint64 accepts exactly 8 bytes.
func UnmarshalUint64(b []byte) (uint64, error) {
	if len(b) != Uint64Size {
		return 0, fmt.Errorf("uint64 of %d bytes: want %d", len(b), Uint64Size)
	}
	return binary.LittleEndian.Uint64(b), nil
}
