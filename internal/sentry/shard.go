package sentry

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
)

// maxShards bounds a shard's N. The largest networks have some ten thousand nodes.
const maxShards = 1000

// Shard is one part of a network that several sentries share: part Index of Count,
// from 1 to Count. The zero value is the whole network.
//
// A shard's sentry keeps only the records of its peers and dials no others, so that
// sentries do not duplicate work. A peer of another shard that dials us is
// still visited: it costs no dial, and a peer that cannot be dialled is
// seen by the sentry that it happens to find, or by none.
type Shard struct{ Index, Count int }

// ParseShard reads "I/N" with 1 <= I <= N.
func ParseShard(text string) (Shard, error) {
	index, count, ok := strings.Cut(text, "/")
	i, err := strconv.Atoi(index)
	n, errCount := strconv.Atoi(count)
	switch {
	case !ok || err != nil || errCount != nil:
		return Shard{}, fmt.Errorf("shard %q: want I/N, such as 1/3", text)
	case n < 1 || n > maxShards:
		return Shard{}, fmt.Errorf("shard %q: want 1 to %d shards", text, maxShards)
	case i < 1 || i > n:
		return Shard{}, fmt.Errorf("shard %q: the shards of %d are 1/%d to %d/%d", text, n, n, n, n)
	}
	return Shard{Index: i, Count: n}, nil
}

func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Count) }

// Has reports whether the node is of this shard. The node id's last bytes decide:
// the first ones determine a node's subnets, and a shard should resemble the
// whole network.
func (s Shard) Has(id eth2.NodeID) bool {
	if s.Count <= 1 {
		return true
	}
	return binary.BigEndian.Uint64(id[24:])%uint64(s.Count) == uint64(s.Index-1)
}
