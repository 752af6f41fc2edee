// Package bus carries events between sentries and consumers over NATS JetStream, with a
// server elsewhere or one embedded in the process. It is the only package that knows
// NATS.
//
//   - Conn is a connection, and makes sure that the stream EVENTS exists.
//   - Publisher sends the events of a queue, such as a spool, until each is acknowledged.
//   - DirectPublisher does the same for events that are on disk elsewhere, for replays.
//   - Subscription delivers events to a consumer. An exclusive one owns its durable
//     (docs/adr/0010-owner-lease.md).
//   - Embedded is a nats-server in this process.
package bus
