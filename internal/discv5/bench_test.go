package discv5

import (
	"context"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

// BenchmarkCoverage finds every node of a swarm whose tables are full. The swarm's
// own work is in the same process and counts too.
func BenchmarkCoverage(b *testing.B) {
	const size = 200
	nodes := newSwarm(b, size, testForkID(1))
	for b.Loop() {
		f := newFinder(b, func(c *Config) { c.Bootnodes = []string{nodes[0].local.Node().String()} })
		f.SetFork(testForkID(1), eth2.ForkDigest{})
		s := newSeen()
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx, s.found) }()
		// The swarm also tells of the finders before this one.
		s.wait(b, "the whole swarm", func() bool { return s.count() >= size })
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "us/node")
}
