package sentry

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

func TestParseShard(t *testing.T) {
	for text, want := range map[string]Shard{"1/1": {1, 1}, "2/3": {2, 3}, "3/3": {3, 3}} {
		if got, err := ParseShard(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "/", "0/3", "4/3", "1/0", "-1/3", "1/-3", "a/b", "1/2/3", "1/1001", " 1/3", "1 / 3"} {
		if got, err := ParseShard(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestEveryNodeIsOfOneShard(t *testing.T) {
	const count, nodes = 3, 3000
	var sizes [count]int
	for i := range nodes {
		id := eth2.NodeID(sha256.Sum256(fmt.Append(nil, i)))
		in := 0
		for s := range count {
			if (Shard{s + 1, count}).Has(id) {
				sizes[s]++
				in++
			}
		}
		if in != 1 || !(Shard{}).Has(id) {
			t.Fatalf("%v is of %d shards", id, in)
		}
	}
	for i, n := range sizes {
		if n < nodes/count*9/10 || n > nodes/count*11/10 {
			t.Errorf("shard %d has %d of %d nodes", i+1, n, nodes)
		}
	}
}
