package wire

import (
	"crypto/ecdsa"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/discover/v5wire"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

// party is one side of a conversation, with both codecs.
type party struct {
	local *enode.LocalNode
	key   *ecdsa.PrivateKey
	codec *Codec
	geth  *v5wire.Codec
	addr  netip.AddrPort
}

// newParty makes a party with a key in hex, or a random one.
func newParty(t testing.TB, text string) *party {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	if text != "" {
		key = privateKey(t, text)
	}
	db, err := enode.OpenDB("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	local := enode.NewLocalNode(db, key)
	local.SetStaticIP(net.IPv4(127, 0, 0, 1))
	local.SetFallbackUDP(9000)
	return &party{
		local: local, key: key, addr: netip.MustParseAddrPort("127.0.0.1:9000"),
		codec: NewCodec(local, key, enode.ValidSchemes),
		geth:  v5wire.NewCodec(local, key, mclock.System{}, nil),
	}
}

func (p *party) peer() Peer { return Peer{p.local.ID(), p.addr} }

func testRecord(t testing.TB, entries ...enr.Entry) *enr.Record {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	r := new(enr.Record)
	for _, e := range entries {
		r.Set(e)
	}
	if err := enode.SignV4(r, key); err != nil {
		t.Fatal(err)
	}
	return r
}

func encodeRecord(t testing.TB, r *enr.Record) []byte {
	t.Helper()
	raw, err := rlp.EncodeToBytes(r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// pair is a message as both codecs have it.
type pair struct {
	ours Message
	geth v5wire.Packet
}

func messages(t testing.TB) []pair {
	id := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	r := testRecord(t, enr.UDP(9000))
	return []pair{
		{&Ping{id, 7}, &v5wire.Ping{ReqID: id, ENRSeq: 7}},
		{&Pong{id, 7, []byte{127, 0, 0, 1}, 9000}, &v5wire.Pong{ReqID: id, ENRSeq: 7, ToIP: net.IP{127, 0, 0, 1}, ToPort: 9000}},
		{&Findnode{id, []uint{0, 255, 256}}, &v5wire.Findnode{ReqID: id, Distances: []uint{0, 255, 256}}},
		{&Nodes{id, 3, []rlp.RawValue{encodeRecord(t, r)}}, &v5wire.Nodes{ReqID: id, RespCount: 3, Nodes: []*enr.Record{r}}},
		{&TalkRequest{id, []byte("portal"), []byte{1}}, &v5wire.TalkRequest{ReqID: id, Protocol: "portal", Message: []byte{1}}},
		{&TalkResponse{id, []byte{}}, &v5wire.TalkResponse{ReqID: id, Message: []byte{}}},
	}
}

// What we begin: a packet without session, their WHOAREYOU, our handshake with each
// message, and each message in the session.
func TestGoEthereumReadsUs(t *testing.T) {
	for _, m := range messages(t) {
		a, b := newParty(t, ""), newParty(t, "")
		read := func(packet []byte) v5wire.Packet {
			t.Helper()
			_, _, p, err := b.geth.Decode(packet, a.addr.String())
			if err != nil {
				t.Fatalf("%T: %v", m.ours, err)
			}
			return p
		}
		first, nonce, err := a.codec.Encode(b.peer(), m.ours)
		if err != nil {
			t.Fatal(err)
		}
		unknown, ok := read(first).(*v5wire.Unknown)
		if !ok || Nonce(unknown.Nonce) != nonce {
			t.Fatalf("%T: the first packet is %+v", m.ours, unknown)
		}
		challenge, _, err := b.geth.Encode(a.local.ID(), a.addr.String(), &v5wire.Whoareyou{Nonce: unknown.Nonce, IDNonce: [16]byte{1}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.codec.Decode(challenge, b.addr)
		if err != nil || got.Whoareyou == nil || got.Nonce != nonce {
			t.Fatalf("%T: WHOAREYOU %+v, %v", m.ours, got, err)
		}
		handshake, _, err := a.codec.EncodeHandshake(b.local.Node(), b.addr, got.Whoareyou, m.ours)
		if err != nil {
			t.Fatal(err)
		}
		second, _, err := a.codec.Encode(b.peer(), m.ours)
		if err != nil {
			t.Fatal(err)
		}
		for _, packet := range [][]byte{handshake, second} {
			if p := read(packet); !reflect.DeepEqual(normal(t, p), normal(t, m.geth)) {
				t.Errorf("%T: they read %+v", m.ours, p)
			}
		}
	}
}

// normal is a message in its encoding, since records keep caches.
func normal(t *testing.T, p v5wire.Packet) []byte {
	t.Helper()
	b, err := rlp.EncodeToBytes(p)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{p.Kind()}, b...)
}

// What they begin: the same with the sides exchanged.
func TestWeReadGoEthereum(t *testing.T) {
	for _, m := range messages(t) {
		a, b := newParty(t, ""), newParty(t, "")
		send := func(p v5wire.Packet, challenge *v5wire.Whoareyou) Packet {
			t.Helper()
			packet, _, err := a.geth.Encode(b.local.ID(), b.addr.String(), p, challenge)
			if err != nil {
				t.Fatal(err)
			}
			got, err := b.codec.Decode(packet, a.addr)
			if err != nil || got.From != a.local.ID() {
				t.Fatalf("%T: %+v, %v", m.ours, got, err)
			}
			return got
		}
		first := send(m.geth, nil)
		if first.Message != nil || first.Whoareyou != nil {
			t.Fatalf("%T: the first packet is %+v", m.ours, first)
		}
		_, _, p, err := a.geth.Decode(b.codec.EncodeWhoareyou(a.peer(), first.Nonce, nil), b.addr.String())
		challenge, ok := p.(*v5wire.Whoareyou)
		if err != nil || !ok || Nonce(challenge.Nonce) != first.Nonce {
			t.Fatalf("%T: they read the WHOAREYOU as %+v, %v", m.ours, p, err)
		}
		challenge.Node = b.local.Node()
		handshake := send(m.geth, challenge)
		if handshake.Node == nil || handshake.Node.String() != a.local.Node().String() {
			t.Errorf("%T: the handshake proves %v", m.ours, handshake.Node)
		}
		for _, got := range []Packet{handshake, send(m.geth, nil)} {
			if !reflect.DeepEqual(got.Message, m.ours) {
				t.Errorf("got %+v, want %+v", got.Message, m.ours)
			}
		}
	}
}

// challenged gives a party that waits for the handshake of another, and that handshake.
func challenged(t testing.TB, known bool) (a, b *party, handshake []byte) {
	t.Helper()
	a, b = newParty(t, ""), newParty(t, "")
	var n *enode.Node
	if known {
		n = a.local.Node()
	}
	got, err := a.codec.Decode(b.codec.EncodeWhoareyou(a.peer(), Nonce{1}, n), b.addr)
	if err != nil {
		t.Fatal(err)
	}
	handshake, _, err = a.codec.EncodeHandshake(b.local.Node(), b.addr, got.Whoareyou, &Ping{[]byte{1}, 1})
	if err != nil {
		t.Fatal(err)
	}
	return a, b, handshake
}

func TestHandshakesAreChecked(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("127.0.0.2:9000")
	for _, tt := range []struct {
		name   string
		known  bool
		from   netip.AddrPort // of the packet, when not a's
		change func(a, b *party, unmasked []byte)
		ok     bool
	}{
		{"as it is", false, netip.AddrPort{}, nil, true},
		{"without a record, which is known", true, netip.AddrPort{}, nil, true},
		{"from another address", false, elsewhere, nil, false},
		{"without a challenge", false, netip.AddrPort{}, func(a, b *party, _ []byte) { b.codec.challenges.Remove(a.peer()) }, false},
		{"too late", false, netip.AddrPort{}, func(a, b *party, _ []byte) {
			sent, _ := b.codec.challenges.Get(a.peer())
			sent.at = sent.at.Add(-time.Hour)
		}, false},
		{"another signature", false, netip.AddrPort{}, func(_, _ *party, h []byte) { h[headerSize+handshakeAuthSize+9] ^= 1 }, false},
		{"another key", false, netip.AddrPort{}, func(_, _ *party, h []byte) { h[headerSize+handshakeAuthSize+signatureSize+9] ^= 1 }, false},
		{"a large signature", false, netip.AddrPort{}, func(_, _ *party, h []byte) { h[headerSize+32] = 255 }, false},
		{"a damaged record", false, netip.AddrPort{}, func(_, _ *party, h []byte) { h[headerSize+handshakeAuthSize+signatureSize+publicSize+9] ^= 1 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b, packet := challenged(t, tt.known)
			if tt.change != nil {
				size := len(packet)
				h, message, err := unmask(b.codec.masking, packet, new([MaxPacket]byte))
				if err != nil {
					t.Fatal(err)
				}
				tt.change(a, b, h.raw)
				packet = append(append([]byte(nil), h.raw...), message...)
				mask(b.local.ID(), packet[:len(h.raw)])
				if len(packet) != size {
					t.Fatal("another size")
				}
			}
			from := a.addr
			if tt.from.IsValid() {
				from = tt.from
			}
			got, err := b.codec.Decode(packet, from)
			if ok := err == nil && got.Message != nil && got.Node.ID() == a.local.ID(); ok != tt.ok {
				t.Errorf("%+v, error %v, want accepted: %v", got, err, tt.ok)
			}
			if _, ok := b.codec.sessions.Get(a.peer()); ok != tt.ok {
				t.Errorf("a session: %v", ok)
			}
		})
	}
}

// Both begin a handshake at the same time, so that each has begun the other's session
// last. Both sessions can be read.
func TestHandshakesMayCross(t *testing.T) {
	a, b := newParty(t, ""), newParty(t, "")
	handshake := func(from, to *party) []byte {
		got, err := from.codec.Decode(to.codec.EncodeWhoareyou(from.peer(), Nonce{1}, nil), to.addr)
		if err != nil {
			t.Fatal(err)
		}
		packet, _, err := from.codec.EncodeHandshake(to.local.Node(), to.addr, got.Whoareyou, &Ping{[]byte{1}, 1})
		if err != nil {
			t.Fatal(err)
		}
		return packet
	}
	read := func(from, to *party, packet []byte) {
		t.Helper()
		if got, err := to.codec.Decode(packet, from.addr); err != nil || got.Message == nil {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	fromA, fromB := handshake(a, b), handshake(b, a)
	read(a, b, fromA)
	read(b, a, fromB)
	for _, way := range [][2]*party{{a, b}, {b, a}} {
		packet, _, err := way[0].codec.Encode(way[1].peer(), &Pong{ReqID: []byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		read(way[0], way[1], packet)
	}
}

func TestTheSameChallengeIsRepeated(t *testing.T) {
	a, b := newParty(t, ""), newParty(t, "")
	first := b.codec.EncodeWhoareyou(a.peer(), Nonce{1}, nil)
	if again := b.codec.EncodeWhoareyou(a.peer(), Nonce{2}, nil); !reflect.DeepEqual(first, again) {
		t.Error("another challenge while a handshake is under way")
	}
	sent, _ := b.codec.challenges.Get(a.peer())
	sent.at = sent.at.Add(-2 * challengeTimeout)
	if later := b.codec.EncodeWhoareyou(a.peer(), Nonce{2}, nil); reflect.DeepEqual(first, later) {
		t.Error("the same challenge after its time")
	}
}

func TestSessionsAndChallengesAreBounded(t *testing.T) {
	a := newParty(t, "")
	for i := range uint16(2 * maxChallenges) {
		peer := Peer{enode.ID{byte(i >> 8), byte(i)}, a.addr}
		a.codec.begin(peer, keys{}, 0)
		a.codec.EncodeWhoareyou(peer, Nonce{}, nil)
	}
	if s, c := a.codec.sessions.Len(), a.codec.challenges.Len(); s > maxSessions || c > maxChallenges {
		t.Errorf("%d sessions and %d challenges", s, c)
	}
}

func TestPacketsAreBounded(t *testing.T) {
	a, b := newParty(t, ""), newParty(t, "")
	a.codec.begin(b.peer(), keys{}, 0)
	if packet, _, err := a.codec.Encode(b.peer(), &TalkResponse{[]byte{1}, make([]byte, 1190)}); err == nil {
		t.Errorf("a packet of %d bytes", len(packet))
	}
	if packet, _, err := a.codec.Encode(b.peer(), &TalkResponse{[]byte{1}, make([]byte, 1180)}); err != nil || len(packet) > MaxPacket {
		t.Errorf("%d bytes, error %v", len(packet), err)
	}
	for _, size := range []int{0, 1, minPacket - 1, MaxPacket + 1} {
		if _, err := a.codec.Decode(make([]byte, size), b.addr); err == nil {
			t.Errorf("a packet of %d bytes was read", size)
		}
	}
}
