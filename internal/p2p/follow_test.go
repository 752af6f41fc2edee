package p2p

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/chainbound/valtrack/internal/eth2"
)

// change is one that a follower got, with its time.
type change struct {
	At time.Time
	Subscription
}

// changeLog collects what a follower gets.
type changeLog struct {
	mu    sync.Mutex
	all   []change
	ended []time.Time
}

func (l *changeLog) add(at time.Time, changes []Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(changes) == 0 {
		l.ended = append(l.ended, at)
	}
	for _, c := range changes {
		l.all = append(l.all, change{at, c})
	}
}

// ends are the times of its last calls.
func (l *changeLog) ends() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ended)
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
	name := strings.TrimSuffix(strings.TrimPrefix(s.Topic, "/eth2/8c9f62fe/"), "/ssz_snappy")
	if s.Subscribe {
		return "+" + name
	}
	return "-" + name
}

// topicOf is a topic of our digest.
func topicOf(name string) string { return "/eth2/8c9f62fe/" + name + "/ssz_snappy" }

func topicsOf(names ...string) (list []string) {
	for _, name := range names {
		list = append(list, topicOf(name))
	}
	return list
}

func on(topics ...string) []Subscription  { return entries(true, topics) }
func off(topics ...string) []Subscription { return entries(false, topics) }

func entries(subscribe bool, topics []string) []Subscription {
	var subs []Subscription
	for _, topic := range topics {
		subs = append(subs, Subscription{subscribe, topicOf(topic)})
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
	if diff := cmp.Diff(topicsOf("a", "b", "c"), topics(current)); diff != "" {
		t.Error(diff)
	}
	stream.Write(encodeRPC(t, slices.Concat(off("b"), on("a", "d"), off("unknown"))...))
	stream.Write(encodeRPC(t, slices.Concat(on("b"), off("b"))...))
	want := []string{"-b", "+d", "+b", "-b"}
	await(t, "the changes are reported", func() bool { return slices.Equal(seen.texts(), want) })
	for i, c := range seen.all {
		if c.At.Before(begun) || c.At.After(time.Now()) || i > 0 && c.At.Before(seen.all[i-1].At) {
			t.Errorf("change %d has time %v", i, c.At)
		}
	}

	stop()
	stream.Write(encodeRPC(t, on("f")...))
	await(t, "the set has the new topic", func() bool { return slices.Contains(topics(s.Subscriptions()), topicOf("f")) })
	if n := len(seen.texts()); n != len(want) {
		t.Errorf("%d changes reported after stop", n-len(want))
	}
	if len(seen.ends()) != 0 {
		t.Error("an end is reported while the stream is open")
	}
}

// A follower gets its last call when the stream ends, though the connection stands, and what
// comes on another stream is not its.
func TestFollowEndsWithTheStream(t *testing.T) {
	for name, end := range map[string]func(*testPeer, *Host, network.Stream){
		"reset":  func(_ *testPeer, _ *Host, s network.Stream) { s.Reset() },
		"closed": func(_ *testPeer, _ *Host, s network.Stream) { s.Close() },
		"reopened": func(p *testPeer, h *Host, _ network.Stream) {
			p.open(h, "/meshsub/1.1.0", encodeRPC(p.t, on("a", "e")...))
		},
		"malformed": func(_ *testPeer, _ *Host, s network.Stream) { s.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x7f}) },
	} {
		for transport, transports := range eachTransport() {
			t.Run(name+" "+transport, func(t *testing.T) {
				p, h := startPeer(t, transports...), startHost(t, nil)
				p.serveAll()
				s := dial(t, h, p.target())
				stream := p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("a", "b")...))
				if _, err := s.Hello(testContext(t)); err != nil {
					t.Fatal(err)
				}
				var seen changeLog
				_, stop := s.Follow(seen.add)
				defer stop()
				stream.Write(encodeRPC(t, on("c")...))
				await(t, "the change is reported", func() bool { return len(seen.texts()) == 1 })
				ends := time.Now()
				end(p, h, stream)
				await(t, "the end is reported", func() bool { return len(seen.ends()) > 0 })
				if at := seen.ends()[0]; at.Before(ends) || at.After(time.Now()) {
					t.Errorf("ended %v after the stream", at.Sub(ends))
				}
				if _, err := s.Ping(testContext(t)); err != nil {
					t.Errorf("the session does not stand: %v", err)
				}
				p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("x", "y")...))
				await(t, "the new list is whole", func() bool { return slices.Equal(topics(s.Subscriptions()), topicsOf("x", "y")) })
				if got := seen.texts(); !slices.Equal(got, []string{"+c"}) || len(seen.ends()) != 1 {
					t.Errorf("reported %v and %d ends", got, len(seen.ends()))
				}
			})
		}
	}
}

// Follow reports at once that there is nothing to follow.
func TestFollowWithoutAStream(t *testing.T) {
	p, h := startPeer(t), startHost(t, func(cfg *Config) { cfg.helloGap = time.Hour })
	s := dial(t, h, p.target())
	follow := func(what string, subscribed []string, ends int) {
		t.Helper()
		var seen changeLog
		current, stop := s.Follow(seen.add)
		stop()
		if !slices.Equal(topics(current), subscribed) || len(seen.ends()) != ends {
			t.Errorf("%s: follows %v with %d ends, want %v and %d", what, topics(current), len(seen.ends()), subscribed, ends)
		}
	}
	follow("no stream", nil, 1)
	whole := p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("a", "b")...))
	if _, err := s.Hello(testContext(t)); err != nil {
		t.Fatal(err)
	}
	follow("a whole list", topicsOf("a", "b"), 0)
	whole.Reset()
	await(t, "the stream has ended", func() bool { s.gossip.mu.Lock(); defer s.gossip.mu.Unlock(); return s.gossip.stream == nil })
	follow("a stream that ended", topicsOf("a", "b"), 1)
	p.open(h, "/meshsub/1.1.0", encodeRPC(t, on("x")...))
	await(t, "the new list has begun", func() bool { return slices.Equal(topics(s.Subscriptions()), topicsOf("x")) })
	follow("a list that is not whole", topicsOf("x"), 1)
}

// Whenever it begins, a follower's set and changes give the peer's set.
func TestFollowLosesNothing(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	s := dial(t, h, p.target())
	stream := p.open(h, "/meshsub/1.1.0", nil)
	stream.Write(encodeRPC(t, on("begin", "now")...)) // several topics: the list is whole
	if _, err := s.Hello(testContext(t)); err != nil {
		t.Fatal(err)
	}
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
			return len(seen.texts()) > 3 || slices.Contains(topics(s.Subscriptions()), topicOf("end"))
		})
		now := make(map[string]bool)
		for _, c := range current {
			now[c.Topic] = true
		}
		stop()
		if len(seen.ends()) > 0 {
			t.Fatal("an end is reported while the stream is open")
		}
		for _, c := range seen.all {
			if now[c.Topic] == c.Subscribe {
				t.Fatalf("reported %s, which changes nothing", changeText(c.Subscription))
			}
			now[c.Topic] = c.Subscribe
		}
	}
	await(t, "the end", func() bool { return slices.Contains(topics(s.Subscriptions()), topicOf("end")) })
}

func TestRemoteSeq(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	p.serveAll()
	s := dial(t, h, p.target())
	if _, ok := s.RemoteSeq(); ok {
		t.Error("a seq_number before the peer sent one")
	}
	expect := func(want uint64, moved bool) {
		t.Helper()
		if seq, ok := s.RemoteSeq(); !ok || seq != want {
			t.Errorf("RemoteSeq = %d, %v, want %d", seq, ok, want)
		}
		select {
		case <-s.SeqChanged():
			if !moved {
				t.Error("a change is reported that is none")
			}
		default:
			if moved {
				t.Error("the change is not reported")
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
		if _, err := p.request(h, ProtoPingV1, eth2.MarshalUint64(step.seq)); err != nil {
			t.Fatal(err)
		}
		expect(step.want, step.moved)
	}
}
