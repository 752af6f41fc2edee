package eth2_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

func TestParseTopic(t *testing.T) {
	digest := eth2.ForkDigest{0x8c, 0x9f, 0x62, 0xfe}
	other := func(name string) eth2.Topic {
		return eth2.Topic{Digest: digest, Kind: eth2.TopicOther, Name: name}
	}
	for text, want := range map[string]eth2.Topic{
		"/eth2/8c9f62fe/beacon_attestation_0/ssz_snappy":                  eth2.AttestationTopic(digest, 0),
		"/eth2/8c9f62fe/beacon_attestation_63/ssz_snappy":                 eth2.AttestationTopic(digest, 63),
		"/eth2/8c9f62fe/sync_committee_3/ssz_snappy":                      eth2.SyncCommitteeTopic(digest, 3),
		"/eth2/8c9f62fe/data_column_sidecar_127/ssz_snappy":               eth2.DataColumnTopic(digest, 127),
		"/eth2/8c9f62fe/beacon_block/ssz_snappy":                          other("beacon_block"),
		"/eth2/8c9f62fe/execution_payload_bid/ssz_snappy":                 other("execution_payload_bid"),
		"/eth2/8c9f62fe/blob_sidecar_5/ssz_snappy":                        other("blob_sidecar_5"),
		"/eth2/8c9f62fe/some_future_topic/ssz_snappy":                     other("some_future_topic"),
		"/eth2/8c9f62fe/beacon_attestation_next/ssz_snappy":               other("beacon_attestation_next"),
		"/eth2/8c9f62fe/beacon_aggregate_and_proof/ssz_snappy":            other("beacon_aggregate_and_proof"),
		"/eth2/8c9f62fe/sync_committee_contribution_and_proof/ssz_snappy": other("sync_committee_contribution_and_proof"),
	} {
		got, err := eth2.ParseTopic(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		if got.String() != text {
			t.Errorf("%s: text again %s", text, got)
		}
	}
}

func TestParseTopicRefuses(t *testing.T) {
	for _, text := range []string{
		"",
		"/",
		"beacon_attestation",
		"beacon_attestation_1",
		"/eth2/",
		"/eth2/8c9f62fe/beacon_attestation_1",
		"/eth2/8c9f62fe/beacon_attestation_1/",
		"/eth2/8c9f62fe/beacon_attestation_1/ssz",
		"/eth2/8c9f62fe/beacon_attestation_1/ssz_snappy/",
		"eth2/8c9f62fe/beacon_attestation_1/ssz_snappy",
		"//eth2/8c9f62fe/beacon_attestation_1/ssz_snappy",
		"/eth3/8c9f62fe/beacon_attestation_1/ssz_snappy",
		"/eth2/8c9f62f/beacon_attestation_1/ssz_snappy",
		"/eth2/8c9f62fe00/beacon_attestation_1/ssz_snappy",
		"/eth2/8C9F62FE/beacon_attestation_1/ssz_snappy",
		"/eth2/0x8c9f62/beacon_attestation_1/ssz_snappy",
		"/eth2/8c9f62fg/beacon_attestation_1/ssz_snappy",
		"/eth2/8c9f62fe//ssz_snappy",
		"/eth2/8c9f62fe/Beacon_Block/ssz_snappy",
		"/eth2/8c9f62fe/beacon_attestation_64/ssz_snappy",
		"/eth2/8c9f62fe/beacon_attestation_9999/ssz_snappy",
		"/eth2/8c9f62fe/beacon_attestation_01/ssz_snappy",
		"/eth2/8c9f62fe/beacon_attestation_1x/ssz_snappy",
		"/eth2/8c9f62fe/beacon_attestation_-1/ssz_snappy",
		"/eth2/8c9f62fe/beacon_attestation_99999999999999999999/ssz_snappy",
		"/eth2/8c9f62fe/sync_committee_4/ssz_snappy",
		"/eth2/8c9f62fe/data_column_sidecar_128/ssz_snappy",
		"/eth2/8c9f62fe/\xff\x00/ssz_snappy",
		"/eth2/8c9f62fe/" + strings.Repeat("a", 1<<20) + "/ssz_snappy",
	} {
		got, err := eth2.ParseTopic(text)
		if err == nil {
			t.Errorf("%.80q: %v, want an error", text, got)
			continue
		}
		if len(err.Error()) > 600 {
			t.Errorf("%.80q: an error of %d bytes", text, len(err.Error()))
		}
	}
}

func FuzzParseTopic(f *testing.F) {
	f.Add("/eth2/8c9f62fe/beacon_attestation_63/ssz_snappy")
	f.Add("/eth2/8c9f62fe/sync_committee_contribution_and_proof/ssz_snappy")
	f.Add("/eth2/00000000/data_column_sidecar_127/ssz_snappy")
	f.Add("beacon_attestation")
	limits := map[eth2.TopicKind]int{eth2.TopicAttestation: 64, eth2.TopicSyncCommittee: 4, eth2.TopicDataColumn: 128, eth2.TopicOther: 1}
	f.Fuzz(func(t *testing.T, text string) {
		topic, err := eth2.ParseTopic(text)
		if err != nil {
			return
		}
		if topic.String() != text {
			t.Errorf("%q: text again %q", text, topic)
		}
		if topic.Subnet < 0 || topic.Subnet >= limits[topic.Kind] {
			t.Errorf("%q: subnet %d of kind %s", text, topic.Subnet, topic.Kind)
		}
	})
}
