// Package sentry is the crawler: a bounded table of peers, a schedule of who is
// due, and visits, each one connection with one peer from dial to goodbye. What a
// visit observes is published as events.
//
// To follow one visit, read schedule.go (who is due), visit.go (handshake), watch.go
// and subnetlog.go (what a peer subscribes to), events.go (what is published). The
// peer table survives restarts: peerstore.go.
//
// Construction order: a Local, the p2p host with that Local and its Inbound, the
// finder with the host's ports, then the Sentry.
package sentry
