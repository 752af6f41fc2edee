package tracker

import (
	"cmp"
	"maps"
	"slices"
)

// Keys of NextDigests that are no digests: of records without one, and of all digests but the
// most announced.
const (
	NoDigest    = "none"
	OtherDigest = "other"
)

// maxDigests bounds the digests of an hour: nodes announce what they like.
const maxDigests = 8

// nextDigests counts nodes by the next fork digest of their newest record.
func nextDigests(nodes []*Peer) map[string]int {
	all := map[string]int{}
	none := 0
	for _, p := range nodes {
		if p.Record.NFD == nil {
			none++
			continue
		}
		all[p.Record.NFD.String()]++
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
