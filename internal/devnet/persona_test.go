package devnet

import (
	"errors"
	"maps"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/p2p"
)

// oneOfEach is a network with one node of every persona and three healthy ones.
func oneOfEach(t *testing.T) (*Devnet, map[Persona]Node) {
	cfg := fast(len(Personas()) + 2)
	cfg.Faults = Mix{}
	for _, p := range Personas()[1:] {
		cfg.Faults[p] = 0.001
	}
	cfg.SlowDelay = 200 * time.Millisecond
	d := start(t, cfg)
	nodes := make(map[Persona]Node)
	for _, n := range d.Truth().Nodes {
		nodes[n.Persona] = n
	}
	if len(nodes) != len(Personas()) {
		t.Fatalf("%d personas of %d", len(nodes), len(Personas()))
	}
	return d, nodes
}

// tcpAddr is the node's TCP endpoint.
func tcpAddr(t *testing.T, n Node) string {
	t.Helper()
	for _, text := range n.Multiaddrs {
		if transportOf(text) != "tcp" {
			continue
		}
		a, _ := peer.SplitAddr(ma.StringCast(text))
		_, addr, err := manet.DialArgs(a)
		if err != nil {
			t.Fatal(err)
		}
		return addr
	}
	t.Skipf("node %d has no TCP", n.Index)
	return ""
}

// unsupported says that a peer did not know the protocol.
func unsupported(err error) bool {
	var e multistream.ErrNotSupported[protocol.ID]
	return errors.As(err, &e)
}

func TestPersonas(t *testing.T) {
	t.Parallel()
	d, nodes := oneOfEach(t)
	type visit struct {
		*crawler
		id peer.ID
		n  Node
	}
	ours := d.ourStatus
	answersGarbage := func(t *testing.T, v visit) {
		if s, err := v.handshake(t.Context(), v.id, 2, ours()); err == nil {
			t.Errorf("status %+v", s)
		}
	}
	irrelevant := func(t *testing.T, v visit) {
		s, err := v.insist(t.Context(), v.n, ours())
		if err != nil || s.ForkDigest == ours().ForkDigest {
			t.Errorf("status %+v, %v", s, err)
		}
		eventually(t, "goodbye 2", func() bool { code, _ := v.goodbye(v.id); return code == eth2.GoodbyeIrrelevantNetwork })
		eventually(t, "disconnection", func() bool { return len(v.Network().ConnsToPeer(v.id)) == 0 })
	}
	shakesHands := func(t *testing.T, v visit) {
		if s, err := v.handshake(t.Context(), v.id, 2, ours()); err != nil || s.ForkDigest != ours().ForkDigest {
			t.Errorf("status %+v, %v", s, err)
		}
		if m, err := v.metaData(t.Context(), v.id, 3); err != nil || *m.CustodyGroupCount != v.n.CGC {
			t.Errorf("metadata %+v, %v", m, err)
		}
	}
	hello := func(t *testing.T, v visit) {
		eventually(t, "hello as the truth says", func() bool {
			return slices.Equal(v.subnets(v.id, ours().ForkDigest, eth2.TopicAttestation), d.Truth().SubnetsAt(v.n.PeerID, time.Now()))
		})
	}
	// A node can dial only whoever has told it an address in identify.
	knowsUs := func(t *testing.T, v visit) {
		eventually(t, "the node to know our address", func() bool {
			return len(d.hostOf(v.n.Index).Peerstore().Addrs(v.ID())) > 0
		})
	}
	checks := map[Persona]func(*testing.T, visit){
		Healthy: func(t *testing.T, v visit) { shakesHands(t, v); hello(t, v) },
		Hang: func(t *testing.T, v visit) {
			s, err := v.NewStream(t.Context(), v.id, p2p.ProtoStatusV2)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Reset()
			_ = s.SetDeadline(time.Now().Add(300 * time.Millisecond))
			_, _ = s.Write(p2p.EncodeRequest(ours().MarshalSSZ(2)))
			if _, err := p2p.ReadResponse(s, eth2.StatusV2Size); err == nil {
				t.Error("answered")
			}
		},
		Goodbye: func(t *testing.T, v visit) {
			eventually(t, "goodbye 129", func() bool { code, _ := v.goodbye(v.id); return code == eth2.GoodbyeTooManyPeers })
			eventually(t, "disconnection", func() bool { return len(v.Network().ConnsToPeer(v.id)) == 0 })
		},
		WrongDigest: irrelevant,
		WrongStatus: irrelevant,
		BadEth2:     shakesHands,
		Unaware:     shakesHands, // what it does when a fork comes: TestFork
		ErrorCodes: func(t *testing.T, v visit) {
			_, err := v.handshake(t.Context(), v.id, 2, ours())
			var refused *p2p.ResponseError
			if !errors.As(err, &refused) || refused.Code == 0 {
				t.Errorf("status: %v", err)
			}
		},
		Garbage:  answersGarbage,
		Oversize: answersGarbage,
		OldProtocols: func(t *testing.T, v visit) {
			_, err2 := v.handshake(t.Context(), v.id, 2, ours())
			_, err3 := v.metaData(t.Context(), v.id, 3)
			if !unsupported(err2) || !unsupported(err3) {
				t.Errorf("status/2: %v; metadata/3: %v", err2, err3)
			}
			if s, err := v.handshake(t.Context(), v.id, 1, ours()); err != nil || s.EarliestAvailableSlot != nil {
				t.Errorf("status %+v, %v", s, err)
			}
			if m, err := v.metaData(t.Context(), v.id, 1); err != nil || m.Attnets != v.n.Attnets || m.Syncnets != nil {
				t.Errorf("metadata %+v, %v", m, err)
			}
		},
		MalformedENR:    func(t *testing.T, v visit) { shakesHands(t, v); hello(t, v) },
		MalformedTopics: func(t *testing.T, v visit) { shakesHands(t, v); hello(t, v) },
		Flood: func(t *testing.T, v visit) {
			shakesHands(t, v)
			eventually(t, "a flood of topics", func() bool {
				v.mu.Lock()
				defer v.mu.Unlock()
				return len(v.topics[v.id]) > floodRPCs*floodTopicsPerRPC
			})
		},
		Slow: shakesHands,
		Redials: func(t *testing.T, v visit) {
			shakesHands(t, v)
			knowsUs(t, v)
			for range 2 {
				if err := v.Network().ClosePeer(v.id); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the node to dial again", func() bool { return len(v.Network().ConnsToPeer(v.id)) > 0 })
			}
		},
		// Nobody can dial it by its record; who was connected is dialled.
		NoPort: func(t *testing.T, v visit) {
			r, err := enr.Parse(v.n.ENR)
			if err != nil || r.TCP != 0 || r.QUIC != 0 || !r.IP4.IsValid() {
				t.Errorf("record %+v, %v", r, err)
			}
			shakesHands(t, v)
			knowsUs(t, v)
			if err := v.Network().ClosePeer(v.id); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the node to dial again", func() bool { return len(v.Network().ConnsToPeer(v.id)) > 0 })
		},
		NoGossip: func(t *testing.T, v visit) {
			shakesHands(t, v)
			if _, err := v.NewStream(t.Context(), v.id, p2p.MeshsubProtocols()...); !unsupported(err) {
				t.Errorf("meshsub: %v", err)
			}
		},
		NoAgent: func(t *testing.T, v visit) {
			shakesHands(t, v)
			if got := v.agent(v.id); got != "" {
				t.Errorf("agent %q", got)
			}
		},
	}
	elsewhere := []Persona{Dead, Gone, NoEth2, Quota, Unlisted} // TestDeadEnds, TestPacketFilter, TestInbound
	for _, persona := range Personas() {
		check, ok := checks[persona]
		if !ok {
			if !slices.Contains(elsewhere, persona) {
				t.Errorf("nothing checks what %s does", persona)
			}
			continue
		}
		t.Run(string(persona), func(t *testing.T) {
			v := visit{crawler: newCrawler(t), n: nodes[persona]}
			var err error
			if v.id, err = v.connect(t.Context(), v.n.Multiaddrs[0]); err != nil {
				t.Fatal(err)
			}
			check(t, v)
		})
	}
}

func TestDeadEnds(t *testing.T) {
	t.Parallel()
	_, nodes := oneOfEach(t)
	t.Run("dead", func(t *testing.T) {
		if _, err := net.Dial("tcp4", tcpAddr(t, nodes[Dead])); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v", err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		if _, err := net.DialTimeout("tcp4", tcpAddr(t, nodes[Gone]), 200*time.Millisecond); !isTimeout(err) {
			t.Errorf("dial: %v", err)
		}
	})
	t.Run("no_eth2", func(t *testing.T) {
		r, err := enr.Parse(nodes[NoEth2].ENR)
		if err != nil || r.Eth2 != nil || len(r.Errors) != 0 {
			t.Errorf("record %+v, %v", r, err)
		}
	})
	t.Run("bad_eth2", func(t *testing.T) {
		r, err := enr.Parse(nodes[BadEth2].ENR)
		if err != nil || r.Eth2 != nil || len(r.Errors) != 1 {
			t.Errorf("record %+v, %v", r, err)
		}
	})
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// TestRudePeers: clients send away who is of another network, and who says nothing.
func TestRudePeers(t *testing.T) {
	t.Parallel()
	d := start(t, fast(len(profiles())))
	for _, n := range d.Truth().Nodes {
		t.Run(string(n.Client), func(t *testing.T) {
			t.Parallel()
			c := newCrawler(t)
			id, err := c.connect(t.Context(), n.Multiaddrs[0])
			if err != nil {
				t.Fatal(err)
			}
			wrong := eth2.Status{ForkDigest: eth2.ForkDigest{1, 2, 3, 4}}
			if s, err := c.insist(t.Context(), n, wrong); err != nil || s.ForkDigest != d.ourStatus().ForkDigest {
				t.Errorf("status %+v, %v", s, err)
			}
			eventually(t, "goodbye 2", func() bool { code, _ := c.goodbye(id); return code == eth2.GoodbyeIrrelevantNetwork })

			if n.Client != eth2.ClientPrysm && n.Client != eth2.ClientTeku {
				return
			}
			silent := newCrawler(t)
			if id, err = silent.connect(t.Context(), n.Multiaddrs[0]); err != nil {
				t.Fatal(err)
			}
			eventually(t, "goodbye 3", func() bool { code, _ := silent.goodbye(id); return code == eth2.GoodbyeFault })
		})
	}
}

// TestInbound: nodes dial, and say their Status first.
func TestInbound(t *testing.T) {
	t.Parallel()
	d, nodes := oneOfEach(t)
	c := newCrawler(t)
	for _, n := range []Node{nodes[Healthy], nodes[Unlisted]} {
		addrs := c.Network().ListenAddresses() // in any order
		i := slices.IndexFunc(addrs, func(a ma.Multiaddr) bool { return transportOf(a.String()) == n.Transports[0] })
		if err := d.Dial(t.Context(), n.Index, addrs[i].String()+"/p2p/"+c.ID().String()); err != nil {
			t.Fatal(err)
		}
		id, _ := peer.Decode(n.PeerID)
		eventually(t, "the node's status", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.statuses[id].ForkDigest == d.ourStatus().ForkDigest
		})
	}
	for _, other := range findAll(t, d.Network().Bootnodes) {
		if enr.FromNode(other).PeerID == nodes[Unlisted].PeerID {
			t.Error("the unlisted node is in a table")
		}
	}
}

func TestParseMix(t *testing.T) {
	for text, want := range map[string]Mix{
		"healthy": {}, "mixed": MixedMix(), "quota": {Quota: 1}, "redials=0.25,dead=.5": {Redials: 0.25, Dead: 0.5},
		"awful": nil, "": nil, "mixed,dead=0.1": nil, "dead=": nil, "dead=half": nil, "dead=0.1,dead=0.2": nil, "dead=0.1,": nil,
	} {
		got, err := ParseMix(text)
		if (err == nil) != (want != nil) || !maps.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), strconv.Quote(text)) {
			t.Errorf("%q is not in the error %q", text, err)
		}
	}
	for _, text := range []string{"dead=1.1", "dead=-0.1", "dead=NaN", "dead=0.6,gone=0.6"} {
		m, err := ParseMix(text)
		if err == nil {
			err = Config{Faults: m}.Check()
		}
		if err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestMixes(t *testing.T) {
	const n = 1000
	plans, _, err := planNodes(Config{Nodes: n, Faults: MixedMix()}.withDefaults(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[Persona]int)
	for _, p := range plans {
		got[p.persona]++
	}
	for p, want := range map[Persona]int{Dead: 150, Gone: 100, Goodbye: 100, WrongDigest: 50, NoEth2: 50} {
		if got[p] != want {
			t.Errorf("%d of %s, want %d", got[p], p, want)
		}
	}
	if rest := n - got[Healthy] - 450; math.Abs(float64(rest-170)) > 12 {
		t.Errorf("%d other faults, want about 170", rest)
	}
}

func TestThePageHasEveryPersona(t *testing.T) {
	page, err := os.ReadFile("../../docs/design/devnet.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(Personas(), HostilePersonas()...) {
		if !strings.Contains(string(page), "| `"+string(p)+"` |") {
			t.Errorf("docs/design/devnet.md has no row for the persona %s", p)
		}
	}
}
