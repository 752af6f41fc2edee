package eth2_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

// wireSSZ gives the SSZ bytes of a message in wire.json.
func wireSSZ(t testing.TB, message string) []byte {
	t.Helper()
	var file map[string]json.RawMessage
	readVectors(t, "wire.json", &file)
	var v struct {
		SSZ string
		Len int `json:"ssz_len"`
	}
	if err := json.Unmarshal(file[message], &v); err != nil {
		t.Fatalf("wire.json %s: %v", message, err)
	}
	b, err := hex.DecodeString(v.SSZ)
	if err != nil || len(b) != v.Len {
		t.Fatalf("wire.json %s: %d bytes, want %d: %v", message, len(b), v.Len, err)
	}
	return b
}

func ptr[T any](v T) *T { return &v }

func TestStatusVectors(t *testing.T) {
	var finalized, head eth2.Root
	for i := range finalized {
		finalized[i], head[i] = byte(i), byte(0x20+i)
	}
	digest := eth2.ForkDigest{0x8c, 0x9f, 0x62, 0xfe}
	full := eth2.Status{ForkDigest: digest, FinalizedRoot: finalized, FinalizedEpoch: 490830, HeadRoot: head, HeadSlot: 15706784}
	full2 := full
	full2.EarliestAvailableSlot = ptr(eth2.Slot(15600000))
	for _, tt := range []struct {
		message string
		version int
		want    eth2.Status
	}{
		{"status_v1", 1, full},
		{"status_v2", 2, full2},
		{"status_v2_zero", 2, eth2.Status{ForkDigest: digest, EarliestAvailableSlot: ptr(eth2.Slot(0))}},
	} {
		wire := wireSSZ(t, tt.message)
		var got eth2.Status
		if err := got.UnmarshalSSZ(wire); err != nil {
			t.Fatalf("%s: %v", tt.message, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.message, diff)
		}
		if diff := cmp.Diff(wire, tt.want.MarshalSSZ(tt.version)); diff != "" {
			t.Errorf("%s encoded (-want +got):\n%s", tt.message, diff)
		}
	}
}

func TestMetaDataVectors(t *testing.T) {
	m := eth2.MetaData{SeqNumber: 7, Attnets: eth2.NewAttnets([]int{11, 12})}
	m2 := m
	m2.Syncnets = ptr(eth2.Syncnets(0b101))
	m3 := m2
	m3.CustodyGroupCount = ptr(uint64(128))
	for i, want := range []eth2.MetaData{m, m2, m3} {
		version := i + 1
		wire := wireSSZ(t, []string{"metadata_v1", "metadata_v2", "metadata_v3"}[i])
		var got eth2.MetaData
		if err := got.UnmarshalSSZ(wire); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("version %d (-want +got):\n%s", version, diff)
		}
		// Whatever a container holds, it can be sent in any version.
		if diff := cmp.Diff(wire, m3.MarshalSSZ(version)); diff != "" {
			t.Errorf("version %d encoded (-want +got):\n%s", version, diff)
		}
	}
}

func TestUint64Vectors(t *testing.T) {
	for message, want := range map[string]uint64{"ping": 7, "goodbye_129": eth2.GoodbyeTooManyPeers} {
		wire := wireSSZ(t, message)
		got, err := eth2.UnmarshalUint64(wire)
		if err != nil || got != want {
			t.Errorf("%s: %d, %v: want %d", message, got, err, want)
		}
		if diff := cmp.Diff(wire, eth2.MarshalUint64(want)); diff != "" {
			t.Errorf("%s encoded (-want +got):\n%s", message, diff)
		}
	}
}

func TestContainersRefuseOtherSizes(t *testing.T) {
	for size := range 200 {
		b := make([]byte, size)
		if err := new(eth2.Status).UnmarshalSSZ(b); (err == nil) != (size == 84 || size == 92) {
			t.Errorf("status of %d bytes: %v", size, err)
		}
		if err := new(eth2.MetaData).UnmarshalSSZ(b); (err == nil) != (size == 16 || size == 17 || size == 25) {
			t.Errorf("metadata of %d bytes: %v", size, err)
		}
		if err := new(eth2.ENRForkID).UnmarshalSSZ(b); (err == nil) != (size == 16) {
			t.Errorf("eth2 entry of %d bytes: %v", size, err)
		}
		if _, err := eth2.UnmarshalUint64(b); (err == nil) != (size == 8) {
			t.Errorf("uint64 of %d bytes: %v", size, err)
		}
	}
}

func TestMetaDataRefusesHighSyncnetsBits(t *testing.T) {
	b := make([]byte, eth2.MetaDataV3Size)
	b[16] = 0x10
	if err := new(eth2.MetaData).UnmarshalSSZ(b); err == nil {
		t.Error("a fifth syncnets bit: want an error")
	}
}

// A container that is accepted encodes to the same bytes again.
func FuzzContainers(f *testing.F) {
	for _, message := range []string{"status_v1", "status_v2", "metadata_v1", "metadata_v2", "metadata_v3", "ping"} {
		wire := wireSSZ(f, message)
		f.Add(wire)
		f.Add(wire[:len(wire)-1])
		f.Add(append(wire, 0))
	}
	f.Add(bytes.Repeat([]byte{0x0f}, eth2.MetaDataV2Size))
	f.Add(bytes.Repeat([]byte{0x1f}, eth2.MetaDataV2Size)) // one sync committee subnet too many
	f.Fuzz(func(t *testing.T, wire []byte) {
		var s eth2.Status
		if err := s.UnmarshalSSZ(wire); err == nil {
			version := map[int]int{eth2.StatusV1Size: 1, eth2.StatusV2Size: 2}[len(wire)]
			if again := s.MarshalSSZ(version); !bytes.Equal(again, wire) {
				t.Errorf("status %x encodes to %x", wire, again)
			}
		}
		var m eth2.MetaData
		if err := m.UnmarshalSSZ(wire); err == nil {
			version := map[int]int{eth2.MetaDataV1Size: 1, eth2.MetaDataV2Size: 2, eth2.MetaDataV3Size: 3}[len(wire)]
			if again := m.MarshalSSZ(version); !bytes.Equal(again, wire) {
				t.Errorf("metadata %x encodes to %x", wire, again)
			}
		}
		var id eth2.ENRForkID
		if err := id.UnmarshalSSZ(wire); err == nil && !bytes.Equal(id.MarshalSSZ(), wire) {
			t.Errorf("eth2 entry %x encodes to %x", wire, id.MarshalSSZ())
		}
		if n, err := eth2.UnmarshalUint64(wire); err == nil && !bytes.Equal(eth2.MarshalUint64(n), wire) {
			t.Errorf("uint64 %x encodes to %x", wire, eth2.MarshalUint64(n))
		}
	})
}
