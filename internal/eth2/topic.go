package eth2

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// TopicKind is a family of gossip topics.
type TopicKind string

// Kinds of topic. The first three are numbered; everything else, known or not, is
// TopicOther.
const (
	TopicAttestation   TopicKind = "attestation"
	TopicSyncCommittee TopicKind = "sync_committee"
	TopicDataColumn    TopicKind = "data_column"
	TopicOther         TopicKind = "other"
)

// maxTopic bounds the text of a topic in bytes; the longest in the specs has 66.
const maxTopic = 128

// Topic is a parsed gossip topic, /eth2/<digest>/<name>/ssz_snappy
// (consensus-specs phase0/p2p-interface.md, Topics and messages).
type Topic struct {
	Digest ForkDigest `json:"fork_digest"`
	Kind   TopicKind  `json:"kind"`
	// Name is the part between digest and encoding, with its number.
	Name string `json:"name"`
	// Subnet is the number in Name: 0..63 for attestations, 0..3 for sync
	// committees, 0..127 for data columns, 0 for other topics.
	Subnet int `json:"subnet"`
}

type subnetTopic struct {
	prefix string
	kind   TopicKind
	count  int
}

func subnetTopics() [3]subnetTopic {
	return [...]subnetTopic{
		{"beacon_attestation_", TopicAttestation, AttestationSubnetCount},
		{"sync_committee_", TopicSyncCommittee, SyncCommitteeSubnetCount},
		{"data_column_sidecar_", TopicDataColumn, NumberOfColumns},
	}
}

// ParseTopic reads a topic as a peer sent it: any bytes. The digest must be eight
// lower-case hex digits, the encoding ssz_snappy, the number of a subnet topic in
// range and without leading zeros.
func ParseTopic(s string) (Topic, error) {
	t, err := parseTopic(s)
	if err != nil {
		return Topic{}, fmt.Errorf("topic %.80q: %w", s, err)
	}
	return t, nil
}

func parseTopic(s string) (t Topic, err error) {
	if len(s) > maxTopic {
		return t, fmt.Errorf("%d bytes: want at most %d", len(s), maxTopic)
	}
	parts := strings.Split(s, "/")
	if len(parts) != 5 || parts[0] != "" || parts[1] != "eth2" || parts[4] != "ssz_snappy" {
		return t, errors.New("want /eth2/<fork digest>/<name>/ssz_snappy")
	}
	digest, name := parts[2], parts[3]
	if len(digest) != 2*len(t.Digest) || digest != strings.ToLower(digest) {
		return t, fmt.Errorf("fork digest %q: want 8 lower-case hex digits", digest)
	}
	if err := t.Digest.UnmarshalText([]byte(digest)); err != nil {
		return t, err
	}
	if !isTopicName(name) {
		return t, fmt.Errorf("name %q: want lower-case letters, digits and _", name)
	}
	t.Name, t.Kind = name, TopicOther
	for _, family := range subnetTopics() {
		if number, ok := strings.CutPrefix(name, family.prefix); ok && startsWithDigit(number) {
			t.Kind = family.kind
			t.Subnet, err = parseSubnet(number, family.count)
			return t, err
		}
	}
	return t, nil
}

// startsWithDigit distinguishes a number from the rest of a longer name, such as
// sync_committee_contribution_and_proof.
func startsWithDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

func parseSubnet(number string, count int) (int, error) {
	n, err := strconv.Atoi(number)
	if err != nil || n >= count || strconv.Itoa(n) != number {
		return 0, fmt.Errorf("subnet %q: want 0 to %d", number, count-1)
	}
	return n, nil
}

func isTopicName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return name != ""
}

// String is the topic as it is on the wire.
func (t Topic) String() string {
	return "/eth2/" + strings.TrimPrefix(t.Digest.String(), "0x") + "/" + t.Name + "/ssz_snappy"
}

// AttestationTopic is the topic of an attestation subnet, 0..63.
func AttestationTopic(digest ForkDigest, subnet int) Topic {
	return subnetTopics()[0].topic(digest, subnet)
}

// SyncCommitteeTopic is the topic of a sync committee subnet, 0..3.
func SyncCommitteeTopic(digest ForkDigest, subnet int) Topic {
	return subnetTopics()[1].topic(digest, subnet)
}

// DataColumnTopic is the topic of a data column subnet, 0..127.
func DataColumnTopic(digest ForkDigest, subnet int) Topic {
	return subnetTopics()[2].topic(digest, subnet)
}

func (f subnetTopic) topic(digest ForkDigest, subnet int) Topic {
	return Topic{Digest: digest, Kind: f.kind, Name: f.prefix + strconv.Itoa(subnet), Subnet: subnet}
}
