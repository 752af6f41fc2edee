package bus

import (
	"context"
	"fmt"
	"time"
)

// ClockSkew measures by how much this machine's clock is ahead of the server's, which
// JetStream stamps messages with; below zero it is behind. The skew is right to within the
// uncertainty, half of the round trip.
func (c *Conn) ClockSkew(ctx context.Context) (skew, uncertainty time.Duration, err error) {
	start := time.Now()
	s, err := c.js.Stream(ctx, c.stream)
	if err != nil {
		return 0, 0, fmt.Errorf("time of the server at %s: %w", c.url, err)
	}
	server := s.CachedInfo().TimeStamp
	if server.IsZero() {
		return 0, 0, fmt.Errorf("time of the server at %s: it does not say (nats-server before 2.10)", c.url)
	}
	uncertainty = time.Since(start) / 2
	// Without the monotonic reading: the wall clock is what is measured.
	return start.Round(0).Add(uncertainty).Sub(server), uncertainty, nil
}
