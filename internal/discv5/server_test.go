package discv5

import (
	"crypto/ecdsa"
	crand "crypto/rand"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/discover/v5wire"
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/chainbound/valtrack/internal/discv5/wire"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// server is a discv5 node whose answers a test decides.
type server struct {
	local *enode.LocalNode
	conn  *net.UDPConn
	codec *v5wire.Codec

	mu sync.Mutex
	// answer gives the NODES packets for a FINDNODE.
	answer func(distances []uint) []*v5wire.Nodes
	// rawAnswer, when set, gives packets that go-ethereum would not.
	rawAnswer func(distances []uint) []*rawNodes
	// drop tells whether a received packet is ignored; nil drops none.
	drop  func(packet int) bool
	asked [][]uint
	got   int // packets
}

func newServer(t *testing.T, forkID eth2.ENRForkID, answer func(distances []uint) []*v5wire.Nodes) *server {
	t.Helper()
	_, key := testKey(t)
	return newServerWith(t, key, forkID, answer)
}

func newServerWith(t *testing.T, key *ecdsa.PrivateKey, forkID eth2.ENRForkID, answer func(distances []uint) []*v5wire.Nodes) *server {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	db, err := enode.OpenDB("")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{local: enode.NewLocalNode(db, key), conn: conn, answer: answer}
	s.local.SetStaticIP(net.IPv4(127, 0, 0, 1))
	s.local.SetFallbackUDP(conn.LocalAddr().(*net.UDPAddr).Port)
	s.local.Set(enr.Eth2Entry(forkID))
	s.local.Node() // signed here, not by the goroutine
	s.codec = v5wire.NewCodec(s.local, key, mclock.System{}, nil)
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done; db.Close() })
	go func() { defer close(done); s.serve() }()
	return s
}

// with changes how a running server behaves.
func (s *server) with(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *server) serve() {
	buf := make([]byte, wire.MaxPacket)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.got++
		dropped := s.drop != nil && s.drop(s.got)
		s.mu.Unlock()
		if !dropped {
			s.handle(buf[:n], from)
		}
	}
}

func (s *server) handle(packet []byte, from netip.AddrPort) {
	id, _, message, err := s.codec.Decode(packet, from.String())
	if err != nil {
		return
	}
	switch m := message.(type) {
	case *v5wire.Unknown:
		challenge := &v5wire.Whoareyou{Nonce: m.Nonce}
		_, _ = crand.Read(challenge.IDNonce[:])
		s.send(id, from, challenge)
	case *v5wire.Ping:
		s.send(id, from, &v5wire.Pong{ReqID: m.ReqID, ENRSeq: 1, ToIP: net.IP(from.Addr().AsSlice()), ToPort: from.Port()})
	case *v5wire.Findnode:
		s.mu.Lock()
		s.asked = append(s.asked, m.Distances)
		answer, raw := s.answer, s.rawAnswer
		s.mu.Unlock()
		if raw != nil {
			for _, nodes := range raw(m.Distances) {
				nodes.ReqID = m.ReqID
				s.send(id, from, nodes)
			}
			return
		}
		for _, nodes := range answer(m.Distances) {
			nodes.ReqID = m.ReqID
			s.send(id, from, nodes)
		}
	}
}

func (s *server) send(id enode.ID, to netip.AddrPort, p v5wire.Packet) {
	if encoded, _, err := s.codec.Encode(id, to.String(), p, nil); err == nil {
		_, _ = s.conn.WriteToUDPAddrPort(encoded, to)
	}
}

func (s *server) requests() [][]uint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]uint(nil), s.asked...)
}

func (s *server) packets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

// atDistance makes count records of nodes at a distance of the server.
func (s *server) atDistance(t *testing.T, distance, count int, forkID eth2.ENRForkID) (list []*enode.Node) {
	t.Helper()
	for len(list) < count {
		if n := testNode(t, &forkID); enode.LogDist(s.local.ID(), n.ID()) == distance {
			list = append(list, n)
		}
	}
	return list
}

// packed puts nodes into NODES packets of so many records.
func packed(nodes []*enode.Node, each int) []*v5wire.Nodes {
	var packets []*v5wire.Nodes
	for len(nodes) > 0 {
		var records []*gethenr.Record
		for _, n := range nodes[:min(each, len(nodes))] {
			records = append(records, n.Record())
		}
		packets = append(packets, &v5wire.Nodes{Nodes: records})
		nodes = nodes[min(each, len(nodes)):]
	}
	if len(packets) == 0 {
		packets = append(packets, &v5wire.Nodes{})
	}
	for _, p := range packets {
		p.RespCount = uint8(len(packets))
	}
	return packets
}

// rawNodes is a NODES message with anything for records.
type rawNodes struct {
	ReqID     []byte
	RespCount uint64
	Records   []rlp.RawValue
}

func (*rawNodes) Name() string                { return "NODES" }
func (*rawNodes) Kind() byte                  { return v5wire.NodesMsg }
func (m *rawNodes) RequestID() []byte         { return m.ReqID }
func (m *rawNodes) SetRequestID(id []byte)    { m.ReqID = id }
func (*rawNodes) AppendLogInfo(l []any) []any { return l }

// rawPacked puts nodes into NODES packets of so many records.
func rawPacked(t testing.TB, nodes []*enode.Node, each int) (list []*rawNodes) {
	for part := range slices.Chunk(nodes, each) {
		list = append(list, &rawNodes{Records: rawRecords(t, part)})
	}
	for _, m := range list {
		m.RespCount = uint64(len(list))
	}
	return list
}
