// Package client reads the HTTP API of Valtrack: typed answers, an iterator that follows
// pages, and retries with backoff.
//
//	c, err := client.New(client.Config{URL: "http://127.0.0.1:8080"})
//	...
//	summary, err := c.Summary(ctx)
//	...
//	for node, err := range c.Nodes(ctx, client.NodeQuery{Client: []string{"lighthouse"}, Sort: "-validators"}) {
//		...
//	}
//
// Without a key, answers contain no addresses; ReadKey reads one from a file. What is not
// known is nil. Times are Unix milliseconds, UTC. Every number of validators is an
// estimate with the ends of its 90 % interval.
package client
