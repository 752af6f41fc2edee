package sentry

import (
	"context"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/p2p"
)

// inboundWait bounds how long an inbound connection waits for a sentry that is
// starting or stopping.
const inboundWait = 5 * time.Second

// Local is our side of the protocol: what the host says about us (a p2p.Local), and
// the queue through which inbound sessions reach the sentry.
type Local struct {
	net     network.Network
	forks   forks
	inbound chan inboundConn
}

// inboundConn is an inbound session that waits for the schedule.
type inboundConn struct {
	session *p2p.Session
	done    chan struct{} // closed when the visit is over or was refused
}

// NewLocal follows the network's fork schedule.
func NewLocal(net network.Network) *Local {
	return &Local{net: net, forks: forksOf(net), inbound: make(chan inboundConn)}
}

// Status is the current fork digest and zeros. Every client accepts that, and none
// requests blocks from a node at slot 0. It never depends on what peers send.
func (l *Local) Status() eth2.Status {
	var earliest eth2.Slot
	return eth2.Status{ForkDigest: l.forks.current(time.Now()), EarliestAvailableSlot: &earliest}
}

// MetaData announces no subnets and the minimum custody; it never changes.
func (l *Local) MetaData() eth2.MetaData {
	var sync eth2.Syncnets
	var custody uint64 = eth2.CustodyRequirement
	return eth2.MetaData{SeqNumber: 1, Syncnets: &sync, CustodyGroupCount: &custody}
}

// Inbound is p2p.Config.Inbound: it returns when the visit is over.
func (l *Local) Inbound(ctx context.Context, session *p2p.Session) {
	c := inboundConn{session: session, done: make(chan struct{})}
	wait := time.NewTimer(inboundWait)
	defer wait.Stop()
	select {
	case l.inbound <- c:
		defer context.AfterFunc(ctx, func() { session.Close() })()
		<-c.done
	case <-session.Done():
	case <-wait.C:
	case <-ctx.Done():
	}
}
