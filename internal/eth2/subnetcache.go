package eth2

// maxShuffles bounds a SubnetCache: 64 prefixes in each of 16 periods, of which
// two are under way at any time.
const maxShuffles = 16 << attestationSubnetPrefixBits

// SubnetCache computes the long-lived subnets of many nodes: of all nodes in one
// period only 64 differ, and what it costs is the shuffling. Its zero value is
// ready for use, by one goroutine at a time.
type SubnetCache struct {
	first map[shuffle]uint64
}

// shuffle is what a node's first subnet depends on.
type shuffle struct{ prefix, period uint64 }

// rotating are the subnets of a node that rotates the given epochs before the multiples of
// EpochsPerSubnetPeriod.
func (c *SubnetCache) rotating(id NodeID, e, offset Epoch) [SubnetsPerNode]int {
	key := shuffle{subnetPrefix(id), subnetPeriod(e, offset)}
	first, ok := c.first[key]
	if !ok {
		if c.first == nil || len(c.first) == maxShuffles {
			c.first = make(map[shuffle]uint64)
		}
		first = shuffledPrefix(key.prefix, key.period)
		c.first[key] = first
	}
	return backboneSubnets(first)
}
