package tracker

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Keys of NextDigests that are no digests: of records without one, and of all digests but the
// most announced.
const (
	NoDigest    = "none" // nor of a version with its epoch
	OtherDigest = "other"
)

// maxDigests bounds the digests of an hour: nodes announce what they like.
const maxDigests = 8

// Announced is the key of NextDigests of a record of before nfd, which announces the next fork by
// its version and epoch.
func Announced(version eth2.Version, epoch eth2.Epoch) string {
	return version.String() + "@" + strconv.FormatUint(uint64(epoch), 10)
}

// nextDigests counts nodes by the next fork digest of their newest record.
func nextDigests(nodes []*Peer) map[string]int {
	all := map[string]int{}
	none := 0
	for _, p := range nodes {
		switch r := &p.Record; {
		case r.NFD != nil:
			all[r.NFD.String()]++
		case r.NextForkVersion != nil && r.NextForkEpoch != nil:
			all[Announced(*r.NextForkVersion, *r.NextForkEpoch)]++
		default:
			none++
		}
	}
	most := slices.SortedFunc(maps.Keys(all), func(a, b string) int { return cmp.Or(cmp.Compare(all[b], all[a]), cmp.Compare(a, b)) })
	for _, digest := range most[min(maxDigests, len(most)):] {
		all[OtherDigest] += all[digest]
		delete(all, digest)
	}
	if none > 0 {
		all[NoDigest] = none
	}
	return all
}
