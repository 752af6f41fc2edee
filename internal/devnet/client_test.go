package devnet

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/discover"
	"github.com/ethereum/go-ethereum/p2p/enode"
	pubsubpb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/p2p"
)

// TestMain: goleveldb, behind enode.DB, ends a goroutine a second after its Close.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func start(t *testing.T, cfg Config) *Devnet {
	t.Helper()
	d, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// seen is one change of a topic, when it arrived.
type seen struct {
	at     time.Time
	subnet int
	on     bool
}

// crawler is a raw libp2p client that records what peers send it.
type crawler struct {
	*host
	mu       sync.Mutex
	topics   map[peer.ID]map[string]bool
	changes  map[peer.ID][]seen
	goodbyes map[peer.ID]uint64
	statuses map[peer.ID]eth2.Status
}

func newCrawler(t *testing.T) *crawler {
	t.Helper()
	p := plan{quic: true, tcp: true, agent: "crawler", addr: netip.MustParseAddr("127.0.0.1"), profile: profile{yamux: true, mplex: true}}
	if err := p.drawKey(stream(uint64(time.Now().UnixNano()), "crawler")); err != nil {
		t.Fatal(err)
	}
	h, err := newHost(&p, ports{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Errorf("close crawler: %v", err)
		}
	})
	c := &crawler{
		host: h, topics: make(map[peer.ID]map[string]bool), changes: make(map[peer.ID][]seen),
		goodbyes: make(map[peer.ID]uint64), statuses: make(map[peer.ID]eth2.Status),
	}
	for _, id := range p2p.MeshsubProtocols() {
		h.SetStreamHandler(id, c.readGossip)
	}
	c.answer(p2p.ProtoMetaDataV3, 0, func(peer.ID, []byte) []byte { return eth2.MetaData{SeqNumber: 1}.MarshalSSZ(3) })
	c.answer(p2p.ProtoPingV1, 8, func(peer.ID, []byte) []byte { return eth2.MarshalUint64(1) })
	c.answer(p2p.ProtoGoodbyeV1, 8, func(id peer.ID, b []byte) []byte {
		code, _ := eth2.UnmarshalUint64(b)
		c.goodbyes[id] = code
		return nil
	})
	c.answer(p2p.ProtoStatusV2, eth2.StatusV2Size, func(id peer.ID, b []byte) []byte {
		var s eth2.Status
		_ = s.UnmarshalSSZ(b)
		c.statuses[id] = s
		return s.MarshalSSZ(2) // the same back: of its own network, in any case
	})
	if err := h.start(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *crawler) answer(id protocol.ID, size int, f func(peer.ID, []byte) []byte) {
	c.SetStreamHandler(id, func(s network.Stream) {
		defer s.Close()
		_ = s.SetDeadline(time.Now().Add(patience))
		var request []byte
		if size > 0 {
			request, _ = p2p.ReadRequest(s, size)
		}
		c.mu.Lock()
		out := f(s.Conn().RemotePeer(), request)
		c.mu.Unlock()
		if out != nil {
			_, _ = s.Write(p2p.EncodeResponse(p2p.CodeSuccess, out))
		}
	})
}

// readGossip decodes with go-libp2p-pubsub's own messages.
func (c *crawler) readGossip(s network.Stream) {
	defer s.Reset()
	id := s.Conn().RemotePeer()
	r := bufio.NewReader(s)
	for {
		size, err := binary.ReadUvarint(r)
		if err != nil {
			return
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		now := time.Now()
		var rpc pubsubpb.RPC
		if proto.Unmarshal(b, &rpc) != nil {
			return
		}
		c.mu.Lock()
		if c.topics[id] == nil {
			c.topics[id] = make(map[string]bool)
		}
		for _, sub := range rpc.GetSubscriptions() {
			if sub.GetSubscribe() {
				c.topics[id][sub.GetTopicid()] = true
			} else {
				delete(c.topics[id], sub.GetTopicid())
			}
			if topic, err := eth2.ParseTopic(sub.GetTopicid()); err == nil && topic.Kind == eth2.TopicAttestation {
				c.changes[id] = append(c.changes[id], seen{now, topic.Subnet, sub.GetSubscribe()})
			}
		}
		c.mu.Unlock()
	}
}

// subnets are a peer's subnets of a kind on a digest.
func (c *crawler) subnets(id peer.ID, digest eth2.ForkDigest, kind eth2.TopicKind) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []int{}
	for text := range c.topics[id] {
		if topic, err := eth2.ParseTopic(text); err == nil && topic.Kind == kind && topic.Digest == digest {
			out = append(out, topic.Subnet)
		}
	}
	slices.Sort(out)
	return out
}

func (c *crawler) goodbye(id peer.ID) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	code, ok := c.goodbyes[id]
	return code, ok
}

// connect dials one of a node's addresses.
func (c *crawler) connect(ctx context.Context, address string) (peer.ID, error) {
	info, err := peer.AddrInfoFromString(address)
	if err != nil {
		return "", err
	}
	c.Peerstore().ClearAddrs(info.ID)
	c.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.TempAddrTTL)
	if _, err := c.Network().DialPeer(ctx, info.ID); err != nil {
		return info.ID, err
	}
	return info.ID, nil
}

func (c *crawler) request(ctx context.Context, id peer.ID, proto protocol.ID, body []byte, max int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := c.NewStream(network.WithNoDial(ctx, "test"), id, proto)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	_ = s.SetDeadline(time.Now().Add(patience))
	if err := p2p.WriteAndHalfClose(s, p2p.EncodeRequest(body)); err != nil {
		return nil, err
	}
	return p2p.ReadResponse(s, max)
}

// handshake sends our Status and reads the peer's.
func (c *crawler) handshake(ctx context.Context, id peer.ID, version int, ours eth2.Status) (eth2.Status, error) {
	proto := p2p.ProtoStatusV2
	if version == 1 {
		proto = p2p.ProtoStatusV1
	}
	b, err := c.request(ctx, id, proto, ours.MarshalSSZ(version), eth2.StatusV2Size)
	if err != nil {
		return eth2.Status{}, err
	}
	var theirs eth2.Status
	return theirs, theirs.UnmarshalSSZ(b)
}

// insist gets the Status of a connected node that sends us away for one of the two:
// if it was gone before we had read its answer, we come again.
func (c *crawler) insist(ctx context.Context, n Node, ours eth2.Status) (s eth2.Status, err error) {
	id, err := peer.Decode(n.PeerID)
	for range 5 {
		if err != nil {
			return s, err
		}
		if s, err = c.handshake(ctx, id, 2, ours); err == nil {
			return s, nil
		}
		if code, _ := c.goodbye(id); code != eth2.GoodbyeIrrelevantNetwork {
			return s, err
		}
		_, err = c.connect(ctx, n.Multiaddrs[0])
	}
	return s, err
}

func (c *crawler) metaData(ctx context.Context, id peer.ID, version int) (eth2.MetaData, error) {
	protos := []protocol.ID{p2p.ProtoMetaDataV1, p2p.ProtoMetaDataV2, p2p.ProtoMetaDataV3}
	b, err := c.request(ctx, id, protos[version-1], nil, eth2.MetaDataV3Size)
	if err != nil {
		return eth2.MetaData{}, err
	}
	var m eth2.MetaData
	return m, m.UnmarshalSSZ(b)
}

// agent waits for identify.
func (c *crawler) agent(id peer.ID) string {
	for _, conn := range c.Network().ConnsToPeer(id) {
		<-c.IDService().IdentifyWait(conn)
	}
	agent, err := c.Peerstore().Get(id, "AgentVersion")
	if err != nil {
		return ""
	}
	return agent.(string)
}

// findAll asks every answering node for its table, from the bootnodes on.
func findAll(t *testing.T, boot []string) map[enode.ID]*enode.Node {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	db, err := enode.OpenDB("")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	local := enode.NewLocalNode(db, key)
	local.SetStaticIP(net.IPv4(127, 0, 0, 1))
	local.SetFallbackUDP(conn.LocalAddr().(*net.UDPAddr).Port)
	disc, err := discover.ListenV5(conn, local, discover.Config{PrivateKey: key})
	if err != nil {
		t.Fatal(err)
	}
	defer disc.Close()
	var (
		mu    sync.Mutex
		found = make(map[enode.ID]*enode.Node)
		asks  sync.WaitGroup
		visit func(*enode.Node)
	)
	visit = func(n *enode.Node) {
		mu.Lock()
		defer mu.Unlock()
		if found[n.ID()] != nil {
			return
		}
		found[n.ID()] = n
		asks.Go(func() {
			if own, err := disc.RequestENR(n); err == nil { // others may still have an older record
				mu.Lock()
				found[n.ID()] = own
				mu.Unlock()
			}
			for d := uint(256); d > 246; d -= 2 {
				more, err := disc.Findnode(n, []uint{d, d - 1})
				if err != nil {
					return // nodes that do not answer are part of the network
				}
				for _, other := range more {
					visit(other)
				}
			}
		})
	}
	for _, text := range boot {
		visit(enode.MustParse(text))
	}
	asks.Wait()
	return found
}
