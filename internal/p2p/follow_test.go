package p2p

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

// changeLog collects what a follower is told.
type changeLog struct {
	mu  sync.Mutex
	all []SubscriptionChange
}

func (l *changeLog) add(at time.Time, changes []Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		l.all = append(l.all, SubscriptionChange{At: at, Subscription: c})
	}
}

// texts gives the changes as "+topic" and "-topic".
func (l *changeLog) texts() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var texts []string
	for _, c := range l.all {
		texts = append(texts, changeText(c.Subscription))
	}
	return texts
}

func changeText(s Subscription) string {
	if s.Subscribe {
		return "+" + s.Topic
	}
	return "-" + s.Topic
}

func on(topics ...string) []Subscription  { return entries(true, topics) }
func off(topics ...string) []Subscription { return entries(false, topics) }

func entries(subscribe bool, topics []string) []Subscription {
	var subs []Subscription
	for _, topic := range topics {
		subs = append(subs, Subscription{subscribe, topic})
	}
	return subs
}

func TestFollow(t *testing.T) {
	for name, transports := range eachTransport() {
		t.Run(name, func(t *testing.T) { testFollow(t, startPeer(t, transports...)) })
	}
}

func testFollow(t *testing.T, p *testPeer) {
	h := startHost(t, nil)
	s := dial(t, h, p.target())
	stream := p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("a", "b", "c")...))
	if _, err := s.Hello(testContext(t)); err != nil {
		t.Fatal(err)
	}
	var seen changeLog
	begun := time.Now()
	current, stop := s.Follow(seen.add)
	if diff := cmp.Diff([]string{"a", "b", "c"}, topics(current)); diff != "" {
		t.Error(diff)
	}
	stream.Write(encodeRPC(t, slices.Concat(off("b"), on("a", "d"), off("unknown"))...))
	stream.Write(encodeRPC(t, slices.Concat(on("b"), off("b"))...))
	want := []string{"-b", "+d", "+b", "-b"}
	await(t, "the changes are told", func() bool { return slices.Equal(seen.texts(), want) })
	for i, c := range seen.all {
		if c.At.Before(begun) || c.At.After(time.Now()) || i > 0 && c.At.Before(seen.all[i-1].At) {
			t.Errorf("change %d has time %v", i, c.At)
		}
	}

	// The stream anew: what both lists have is no change.
	anew := p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("a", "e")...))
	await(t, "the difference is told", func() bool { return len(seen.texts()) == 7 })
	got := seen.texts()[4:]
	slices.Sort(got)
	if diff := cmp.Diff([]string{"+e", "-c", "-d"}, got); diff != "" {
		t.Error(diff)
	}
	stop()
	anew.Write(encodeRPC(t, on("f")...))
	await(t, "the set has the new topic", func() bool { return slices.Contains(topics(s.Subscriptions()), "f") })
	if n := len(seen.texts()); n != 7 {
		t.Errorf("%d changes told after stop", n-7)
	}
}

// A list that breaks off, and one that comes topic by topic.
func TestFollowAcrossStreams(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	s := dial(t, h, p.target())
	p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("a", "b", "c")...))
	if _, err := s.Hello(testContext(t)); err != nil {
		t.Fatal(err)
	}
	var seen changeLog
	_, stop := s.Follow(seen.add)
	defer stop()

	broken := p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("x")...))
	await(t, "the broken list has begun", func() bool { return len(seen.texts()) == 1 })
	broken.Reset()
	anew := p.open(h, "/meshsub/1.1.0", nil)
	for _, topic := range []string{"a", "b"} {
		anew.Write(encodeRPC(t, on(topic)...))
	}
	await(t, "the whole list has come", func() bool { return len(seen.texts()) == 3 })
	got := seen.texts()
	slices.Sort(got)
	if diff := cmp.Diff([]string{"+x", "-c", "-x"}, got); diff != "" {
		t.Error(diff)
	}
}

// Whenever it begins, a follower's set and changes give the peer's set.
func TestFollowLosesNothing(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	s := dial(t, h, p.target())
	stream := p.open(h, "/meshsub/1.1.0", nil)
	const rounds, width = 400, 8
	go func() {
		for i := range rounds {
			rpc := on(fmt.Sprint("t", i%width))
			if i%3 == 0 {
				rpc = off(fmt.Sprint("t", i%width))
			}
			stream.Write(encodeRPC(t, rpc...))
		}
		stream.Write(encodeRPC(t, on("end")...))
	}()
	for range 20 {
		var seen changeLog
		current, stop := s.Follow(seen.add)
		await(t, "something changes", func() bool {
			return len(seen.texts()) > 3 || slices.Contains(topics(s.Subscriptions()), "end")
		})
		now := make(map[string]bool)
		for _, c := range current {
			now[c.Topic] = true
		}
		stop()
		for _, c := range seen.all {
			if now[c.Topic] == c.Subscribe {
				t.Fatalf("told %s, which changes nothing", changeText(c.Subscription))
			}
			now[c.Topic] = c.Subscribe
		}
	}
	await(t, "the end", func() bool { return slices.Contains(topics(s.Subscriptions()), "end") })
}

func TestRemoteSeq(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	p.serveAll()
	s := dial(t, h, p.target())
	if _, ok := s.RemoteSeq(); ok {
		t.Error("a seq_number before the peer told one")
	}
	expect := func(want uint64, moved bool) {
		t.Helper()
		if seq, ok := s.RemoteSeq(); !ok || seq != want {
			t.Errorf("RemoteSeq = %d, %v, want %d", seq, ok, want)
		}
		select {
		case <-s.SeqChanged():
			if !moved {
				t.Error("told of a change that is none")
			}
		default:
			if moved {
				t.Error("not told of the change")
			}
		}
	}
	if _, err := s.Ping(testContext(t)); err != nil {
		t.Fatal(err)
	}
	expect(7, true)
	for _, step := range []struct {
		seq, want uint64
		moved     bool
	}{{7, 7, false}, {9, 9, true}, {8, 9, false}} {
		if _, err := p.ask(h, ProtoPingV1, eth2.MarshalUint64(step.seq)); err != nil {
			t.Fatal(err)
		}
		expect(step.want, step.moved)
	}
}
