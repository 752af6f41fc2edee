package p2p

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/network"
)

// resettable is a stream that can only be reset.
type resettable struct {
	network.Stream
	reset bool
}

func (s *resettable) Reset() error { s.reset = true; return nil }

// Between the opening of a second meshsub stream and its first RPC the peer is not
// without subscriptions.
func TestReopenedStreamReplacesTheSetAtItsFirstRPC(t *testing.T) {
	g := newSubscriptions()
	first, second := &resettable{}, &resettable{}
	g.adopt(first)
	g.apply(first, []Subscription{{true, "a"}})
	g.adopt(second)
	if diff := cmp.Diff([]Subscription{{true, "a"}}, g.current()); diff != "" {
		t.Errorf("before the new list (-want +got):\n%s", diff)
	}
	if !first.reset || second.reset {
		t.Error("the old stream is reset, the new one is not")
	}
	g.apply(second, []Subscription{{true, "b"}})
	if diff := cmp.Diff([]Subscription{{true, "b"}}, g.current()); diff != "" {
		t.Errorf("after the new list (-want +got):\n%s", diff)
	}
}
