package devnet

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// fast is a network whose epochs pass while a test waits.
func fast(nodes int) Config {
	return Config{Nodes: nodes, Seed: 7, SlotDuration: 100 * time.Millisecond, SlotsPerEpoch: 16, Validators: slices.Repeat([]int{600}, nodes)}
}

func (d *Devnet) ourStatus() eth2.Status {
	now := d.net.Clock.EpochAt(time.Now())
	return eth2.Status{ForkDigest: d.net.Schedule.At(now).Digest}
}

func TestEachClientAsTheTruthSays(t *testing.T) {
	t.Parallel()
	d := start(t, fast(24))
	digest := d.ourStatus().ForkDigest
	kinds := make(map[eth2.ClientKind]bool)
	transports := make(map[string]bool)
	for _, n := range d.Truth().Nodes {
		kinds[n.Client] = true
		for _, address := range n.Multiaddrs {
			c := newCrawler(t)
			id, err := c.connect(t.Context(), address)
			if err != nil {
				t.Fatalf("node %d (%s) at %s: %v", n.Index, n.Client, address, err)
			}
			transports[transportOf(address)] = true
			if got := c.agent(id); got != n.Agent {
				t.Errorf("node %d: agent %q, want %q", n.Index, got, n.Agent)
			}
			status, err := c.handshake(t.Context(), id, 2, d.ourStatus())
			if err != nil || status.ForkDigest != digest || status.HeadSlot == 0 || status.EarliestAvailableSlot == nil {
				t.Errorf("node %d (%s): status %+v, %v", n.Index, n.Client, status, err)
			}
			m, err := c.metaData(t.Context(), id, 3)
			if err != nil || m.CustodyGroupCount == nil || *m.CustodyGroupCount != n.CGC || *m.Syncnets != n.Syncnets {
				t.Errorf("node %d (%s): metadata %+v, %v; want cgc %d", n.Index, n.Client, m, err, n.CGC)
			}
			if want, _ := d.Truth().MetaDataAt(n.PeerID, time.Now()); m.Attnets != want.Attnets {
				t.Errorf("node %d (%s): attnets %v, want %v", n.Index, n.Client, m.Attnets, want.Attnets)
			}
			eventually(t, "hello as the truth says", func() bool {
				return slices.Equal(c.subnets(id, digest, eth2.TopicAttestation), d.Truth().SubnetsAt(n.PeerID, time.Now()))
			})
			eventually(t, "column subnets as the truth says", func() bool {
				got := len(c.subnets(id, digest, eth2.TopicDataColumn))
				return got == n.ColumnSubnets && got == max(8, int(n.CGC))
			})
			if err := c.Network().ClosePeer(id); err != nil {
				t.Error(err)
			}
		}
	}
	if len(kinds) != len(profiles()) || len(transports) != 2 {
		t.Errorf("clients %v over %v: want all %d over quic and tcp", kinds, transports, len(profiles()))
	}
}

func transportOf(address string) string {
	if strings.Contains(address, "/quic-v1") {
		return "quic"
	}
	return "tcp"
}

// TestWatch holds a connection with a node of each client over several epochs:
// every change arrives, in order, soon after the time in the truth.
func TestWatch(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	d := start(t, fast(len(profiles())))
	c := newCrawler(t)
	truth := d.Truth()
	for _, n := range truth.Nodes {
		if _, err := c.connect(t.Context(), n.Multiaddrs[0]); err != nil {
			t.Fatal(err)
		}
		id, _ := peer.Decode(n.PeerID)
		if _, err := c.handshake(t.Context(), id, 2, d.ourStatus()); err != nil {
			t.Fatal(err)
		}
	}
	digest := d.ourStatus().ForkDigest
	for _, n := range truth.Nodes {
		id, _ := peer.Decode(n.PeerID)
		eventually(t, "hello", func() bool { return len(c.subnets(id, digest, eth2.TopicAttestation)) > 0 })
	}
	from := time.Now()
	clock := d.Network().Clock
	until := clock.EpochStart(clock.EpochAt(from) + 3)
	eventually(t, "three epochs", func() bool { return time.Now().After(until) })
	for _, n := range truth.Nodes {
		if n.AllSubnets {
			continue
		}
		id, _ := peer.Decode(n.PeerID)
		want := truth.Changes(n.PeerID, from, until)
		if len(want) == 0 {
			t.Errorf("node %d (%s) of %d validators changed nothing", n.Index, n.Client, n.Validators)
		}
		earlier := truth.Changes(n.PeerID, from.Add(-patience), from)
		arrived := func() (got []seen) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, s := range c.changes[id] {
				if !s.at.Before(from) {
					got = append(got, s)
				}
			}
			return got[tailArrived(earlier, got):]
		}
		eventually(t, "all changes", func() bool { return len(arrived()) >= len(want) })
		for i, s := range arrived()[:len(want)] {
			if s.subnet != want[i].Subnet || s.on != want[i].On || s.at.Before(want[i].Time.Truncate(time.Millisecond)) {
				t.Fatalf("node %d (%s): change %d is %v, want %v", n.Index, n.Client, i, s, want[i])
			}
		}
	}
}

// tailArrived is how many of the first arrivals are the last of the changes before:
// those made just before the test began to look and read just after.
func tailArrived(before []SubscriptionChange, got []seen) int {
	for k := min(len(before), len(got)); k > 0; k-- {
		tail := before[len(before)-k:]
		if slices.EqualFunc(tail, got[:k], func(b SubscriptionChange, s seen) bool { return b.Subnet == s.subnet && b.On == s.on }) {
			return k
		}
	}
	return 0
}

func TestDiscoveryFindsAll(t *testing.T) {
	t.Parallel()
	cfg := fast(40)
	cfg.Faults = MixedMix()
	d := start(t, cfg)
	if len(d.Network().Bootnodes) != 3 {
		t.Fatalf("%d bootnodes, want 3", len(d.Network().Bootnodes))
	}
	found := findAll(t, d.Network().Bootnodes)
	for _, n := range d.Truth().Nodes {
		var id eth2.NodeID
		if err := id.UnmarshalText([]byte(n.NodeID)); err != nil {
			t.Fatal(err)
		}
		node := found[[32]byte(id)]
		if node == nil {
			t.Errorf("node %d (%s) not found", n.Index, n.Persona)
			continue
		}
		r := enr.FromNode(node)
		if r.PeerID != n.PeerID {
			t.Errorf("node %d: peer id %s, want %s", n.Index, r.PeerID, n.PeerID)
		}
		ours := r.Eth2 != nil && r.Eth2.ForkDigest == d.ourStatus().ForkDigest
		if ours != n.Ours {
			t.Errorf("node %d (%s): record of our network: %v, want %v", n.Index, n.Persona, ours, n.Ours)
		}
		if n.Persona == Healthy && (r.Attnets == nil || *r.CustodyGroupCount != n.CGC || *r.Syncnets != n.Syncnets || (r.QUIC != 0) != slices.Contains(n.Transports, "quic")) {
			t.Errorf("node %d: record %+v", n.Index, r)
		}
		if (n.Persona == MalformedENR) != (len(r.Errors) == 3) && n.Persona != BadEth2 {
			t.Errorf("node %d (%s): entry errors %v", n.Index, n.Persona, r.Errors)
		}
	}
}

func TestFilesAreTheNetwork(t *testing.T) {
	t.Parallel()
	cfg := fast(5)
	cfg.Dir = filepath.Join(t.TempDir(), "net")
	cfg.Blobs = []eth2.BlobParameters{{Epoch: 1000, MaxBlobsPerBlock: 12}}
	cfg.Forks = WithFork("gloas", 2000)
	d := start(t, cfg)
	got, err := network.LoadFS(os.DirFS(cfg.Dir), "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Network(), got); diff != "" {
		t.Errorf("LoadFS (-want +got):\n%s", diff)
	}
	b, err := os.ReadFile(filepath.Join(cfg.Dir, TruthFile))
	if err != nil {
		t.Fatal(err)
	}
	var doc truthDocument
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Truth().Nodes, doc.Nodes); diff != "" {
		t.Errorf("%s (-want +got):\n%s", TruthFile, diff)
	}
	node := d.Truth().Nodes[0]
	eventually(t, "changes in the files", func() bool {
		b, err := os.ReadFile(filepath.Join(cfg.Dir, SubscriptionsFile))
		return err == nil && strings.Count(string(b), node.PeerID) > 10
	})
	if b, err := os.ReadFile(filepath.Join(cfg.Dir, MetaDataFile)); err != nil || !strings.Contains(string(b), node.PeerID) {
		t.Errorf("%s without %s: %v", MetaDataFile, node.PeerID, err)
	}
}

func TestFork(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	cfg := fast(len(profiles()))
	cfg.Forks = WithFork("gloas", DefaultGenesisAge+4)
	cfg.Blobs = []eth2.BlobParameters{{Epoch: DefaultGenesisAge + 8, MaxBlobsPerBlock: 12}}
	cfg.Faults = Mix{Unaware: 0.001}
	d := start(t, cfg)
	periods := d.Network().Schedule.Periods
	if len(periods) != 3 {
		t.Fatalf("periods %v, want 3", periods)
	}
	c := newCrawler(t)
	n := d.Truth().Nodes[0]
	id, err := c.connect(t.Context(), n.Multiaddrs[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.handshake(t.Context(), id, 2, d.ourStatus()); err != nil {
		t.Fatal(err)
	}
	unaware := d.Truth().Nodes[slices.IndexFunc(d.Truth().Nodes, func(n Node) bool { return n.Persona == Unaware })]
	announced := func(n Node) *enr.Record {
		for _, other := range findAll(t, d.Network().Bootnodes[1:]) {
			if r := enr.FromNode(other); r.PeerID == n.PeerID {
				return &r
			}
		}
		return nil
	}
	eventually(t, "the records of who knows of a fork and who does not", func() bool {
		aware, not := announced(n), announced(unaware)
		return aware != nil && not != nil && aware.Eth2.NextForkEpoch == DefaultGenesisAge+4 && not.Eth2.NextForkEpoch == eth2.FarFutureEpoch
	})
	for i, next := range periods[1:] {
		eventually(t, "topics of both digests before the fork", func() bool {
			return len(c.subnets(id, periods[i].Digest, eth2.TopicAttestation)) > 0 && len(c.subnets(id, next.Digest, eth2.TopicAttestation)) > 0
		})
		// A Status of the old digest would be wrong from the boundary on.
		eventually(t, "the fork", func() bool { return d.Network().Clock.EpochAt(time.Now()) >= next.FirstEpoch })
		if s, err := c.handshake(t.Context(), id, 2, d.ourStatus()); err != nil || s.ForkDigest != next.Digest {
			t.Errorf("status %+v, %v: want digest %v", s, err, next.Digest)
		}
		eventually(t, "no topics of the old digest", func() bool {
			return len(c.subnets(id, periods[i].Digest, eth2.TopicAttestation)) == 0
		})
		eventually(t, "a new record in discv5", func() bool {
			r := announced(n)
			return r != nil && r.Eth2.ForkDigest == d.ourStatus().ForkDigest
		})
	}
	stays, err := c.connect(t.Context(), unaware.Multiaddrs[0])
	if err != nil {
		t.Fatal(err)
	}
	old := d.ourStatus()
	old.ForkDigest = periods[0].Digest
	if s, err := c.handshake(t.Context(), stays, 2, old); err != nil || s.ForkDigest != periods[0].Digest {
		t.Errorf("a node that does not know of the fork: status %+v, %v", s, err)
	}
}

// TestRotation: at its rotation epoch a node changes MetaData, record and topics
// together.
func TestRotation(t *testing.T) {
	t.Parallel()
	cfg := fast(4)
	cfg.Clients = []eth2.ClientKind{eth2.ClientNimbus}
	cfg.Validators = []int{0, 0, 0, 0}
	plans, _, err := planNodes(cfg.withDefaults(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	index := slices.IndexFunc(plans, func(p plan) bool { return !p.allSubnets })
	rotation := eth2.NextSubnetRotation(plans[index].nodeID, 300)
	epoch := time.Duration(cfg.SlotsPerEpoch) * cfg.SlotDuration
	cfg.GenesisTime = time.Now().Add(-time.Duration(rotation-1) * epoch)
	d := start(t, cfg)
	n := d.Truth().Nodes[index]
	eventually(t, "the second MetaData", func() bool {
		m, ok := d.Truth().MetaDataAt(n.PeerID, time.Now())
		return ok && m.SeqNumber == 2
	})
	m, _ := d.Truth().MetaDataAt(n.PeerID, time.Now())
	var id eth2.NodeID
	if err := id.UnmarshalText([]byte(n.NodeID)); err != nil {
		t.Fatal(err)
	}
	if want := eth2.ComputeSubscribedSubnets(id, rotation); m.Attnets != eth2.NewAttnets(want) || m.Attnets == n.Attnets {
		t.Errorf("attnets %v after %v, want subnets %v", m.Attnets.Subnets(), n.LongLivedSubnets, want)
	}
	eventually(t, "the new subnets alone", func() bool {
		return slices.Equal(d.Truth().SubnetsAt(n.PeerID, time.Now()), m.Attnets.Subnets())
	})
	eventually(t, "the new record", func() bool {
		for _, other := range findAll(t, d.Network().Bootnodes[1:]) {
			if r := enr.FromNode(other); r.PeerID == n.PeerID {
				return *r.Attnets == m.Attnets
			}
		}
		return false
	})
}

func TestSameSeedSameNetwork(t *testing.T) {
	cfg := fast(60).withDefaults(time.Now())
	cfg.Faults = MixedMix()
	describe := func(seed uint64) (out []Node, duties [][]duty) {
		cfg.Seed = seed
		plans, _, err := planNodes(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range plans {
			out = append(out, Node{PeerID: p.peerID.String(), Agent: p.agent, Persona: p.persona, CGC: p.cgc, Validators: p.validators, Transports: p.transports()})
			duties = append(duties, aggregatorDuties(stream(seed, "duties", uint64(i), 9), p.validators, 9, 32, 64, 0.04))
		}
		return out, duties
	}
	nodes, duties := describe(1)
	again, dutiesAgain := describe(1)
	if diff := cmp.Diff(nodes, again); diff != "" {
		t.Errorf("another network from the same seed:\n%s", diff)
	}
	if diff := cmp.Diff(duties, dutiesAgain, cmp.AllowUnexported(duty{})); diff != "" {
		t.Errorf("other duties from the same seed:\n%s", diff)
	}
	if other, _ := describe(2); cmp.Equal(nodes, other) {
		t.Error("the same network from another seed")
	}
}

func TestBadConfig(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for field, cfg := range map[string]Config{
		"Nodes":             {Nodes: -1},
		"SlotDuration":      {SlotDuration: time.Millisecond},
		"SlotsPerEpoch":     {SlotsPerEpoch: 1},
		"CommitteesPerSlot": {CommitteesPerSlot: 65},
		"Faults":            {Faults: Mix{"sleepy": 0.5}},
		"Clients":           {Clients: []eth2.ClientKind{"geth"}},
		"Validators[1]":     {Validators: []int{1, -1}},
	} {
		_, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
		var bad *ConfigError
		if !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := Start(t.Context(), Config{Nodes: 2, Dir: taken}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file as directory: no error")
	}
}

// TestContextEnds: the end of the context stops the nodes' work, Close the rest.
func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d, err := Start(ctx, fast(4), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := newCrawler(t)
	id, err := c.connect(ctx, d.Truth().Nodes[0].Multiaddrs[0])
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, "disconnection", func() bool { return len(c.Network().ConnsToPeer(id)) == 0 })
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
