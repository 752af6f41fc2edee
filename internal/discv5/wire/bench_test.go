package wire

import (
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/discover/v5wire"
	"github.com/ethereum/go-ethereum/p2p/enr"
)

// BenchmarkDecodeNodes reads a NODES packet with four records, up to the records whose
// signatures are not checked yet.
func BenchmarkDecodeNodes(b *testing.B) {
	us, them := newParty(b, ""), newParty(b, "")
	handshakeBetween(b, them, us)
	m := &v5wire.Nodes{ReqID: []byte{1, 2, 3, 4, 5, 6, 7, 8}, RespCount: 4}
	for range 4 {
		m.Nodes = append(m.Nodes, testRecord(b, enr.UDP(9000), enr.TCP(9000), enr.WithEntry("attnets", make([]byte, 8)), enr.WithEntry("eth2", make([]byte, 16))))
	}
	packet, _, err := them.geth.Encode(us.local.ID(), us.addr.String(), m, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, err := us.codec.Decode(packet, them.addr)
			if err != nil {
				b.Fatal(err)
			}
			if records, _ := decodeRecords(p.Message.(*Nodes)); len(records) != 4 {
				b.Fatal(len(records))
			}
		}
	})
	b.Run("go-ethereum", func(b *testing.B) {
		b.ReportAllocs()
		addr := them.addr.String()
		for b.Loop() {
			if _, _, _, err := us.geth.Decode(packet, addr); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// handshakeBetween gives both codecs of us a session with them, who have it in
// go-ethereum's.
func handshakeBetween(b *testing.B, them, us *party) {
	w, _, err := us.geth.Encode(them.local.ID(), them.addr.String(), &v5wire.Whoareyou{IDNonce: [16]byte{1}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	_, _, p, err := them.geth.Decode(w, us.addr.String())
	if err != nil {
		b.Fatal(err)
	}
	theirs := p.(*v5wire.Whoareyou)
	data := append([]byte(nil), theirs.ChallengeData...)
	us.codec.challenges.Add(them.peer(), &challenge{data, nil, time.Now()})
	theirs.Node = us.local.Node()
	handshake, _, err := them.geth.Encode(us.local.ID(), us.addr.String(), &v5wire.Ping{ReqID: []byte{1}}, theirs)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := us.codec.Decode(handshake, them.addr); err != nil {
		b.Fatal(err)
	}
	if _, _, _, err := us.geth.Decode(handshake, them.addr.String()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkHandshake answers a WHOAREYOU, and reads that answer.
func BenchmarkHandshake(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		us, them := newParty(b, ""), newParty(b, "")
		n := them.local.Node()
		b.ReportAllocs()
		for b.Loop() {
			got, err := us.codec.Decode(them.codec.EncodeWhoareyou(us.peer(), Nonce{1}, nil), them.addr)
			if err != nil {
				b.Fatal(err)
			}
			packet, _, err := us.codec.EncodeHandshake(n, them.addr, got.Whoareyou, &Ping{[]byte{1}, 1})
			if err != nil {
				b.Fatal(err)
			}
			if got, err := them.codec.Decode(packet, us.addr); err != nil || got.Message == nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go-ethereum", func(b *testing.B) {
		us, them := newParty(b, ""), newParty(b, "")
		n := them.local.Node()
		ourAddr, theirAddr := us.addr.String(), them.addr.String()
		b.ReportAllocs()
		for b.Loop() {
			w, _, err := them.geth.Encode(us.local.ID(), ourAddr, &v5wire.Whoareyou{Nonce: v5wire.Nonce{1}}, nil)
			if err != nil {
				b.Fatal(err)
			}
			_, _, p, err := us.geth.Decode(w, theirAddr)
			if err != nil {
				b.Fatal(err)
			}
			challenge := p.(*v5wire.Whoareyou)
			challenge.Node = n
			packet, _, err := us.geth.Encode(them.local.ID(), theirAddr, &v5wire.Ping{ReqID: []byte{1}}, challenge)
			if err != nil {
				b.Fatal(err)
			}
			if _, _, _, err := them.geth.Decode(packet, ourAddr); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkEncodeFindnode encodes a request in a session.
func BenchmarkEncodeFindnode(b *testing.B) {
	us, them := newParty(b, ""), newParty(b, "")
	handshakeBetween(b, them, us)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := us.codec.Encode(them.peer(), &Findnode{[]byte{1, 2, 3, 4, 5, 6, 7, 8}, []uint{256, 255, 254}}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go-ethereum", func(b *testing.B) {
		b.ReportAllocs()
		addr := them.addr.String()
		for b.Loop() {
			if _, _, err := us.geth.Encode(them.local.ID(), addr, &v5wire.Findnode{ReqID: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Distances: []uint{256, 255, 254}}, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
