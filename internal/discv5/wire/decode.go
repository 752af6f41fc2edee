package wire

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

// Decode reads a packet that came from an address. The result has no part of it.
func (c *Codec) Decode(packet []byte, from netip.AddrPort) (Packet, error) {
	h, message, err := unmask(c.masking, packet, &c.header)
	if err != nil {
		return Packet{}, err
	}
	switch h.flag {
	case flagMessage:
		return c.decodeMessage(h, message, from)
	case flagWhoareyou:
		if len(h.auth) != whoareyouAuthSize {
			return Packet{}, errAuthSize
		}
		w := &Whoareyou{h.nonce, binary.BigEndian.Uint64(h.auth[16:]), append([]byte(nil), h.raw...)}
		return Packet{Nonce: h.nonce, Whoareyou: w}, nil
	case flagHandshake:
		return c.decodeHandshake(h, message, from)
	default:
		return Packet{}, errFlag
	}
}

func (c *Codec) decodeMessage(h header, message []byte, from netip.AddrPort) (Packet, error) {
	if len(h.auth) != messageAuthSize {
		return Packet{}, errAuthSize
	}
	p := Packet{From: enode.ID(h.auth), Nonce: h.nonce}
	s, ok := c.sessions.Get(Peer{p.From, from})
	if !ok {
		return p, nil
	}
	plain, err := open(s.read, h, message)
	if err != nil && s.previous != s.read {
		plain, err = open(s.previous, h, message)
	}
	if err != nil {
		return p, nil //nolint:nilerr // a packet of another session, which is no error
	}
	p.Message, err = decodeMessage(plain)
	return p, err
}

// open decrypts a message.
func open(key [keySize]byte, h header, message []byte) ([]byte, error) {
	return gcm(key).Open(nil, h.nonce[:], message, h.raw)
}

// decodeHandshake checks a handshake against our challenge, which allows one attempt,
// and begins the session.
func (c *Codec) decodeHandshake(h header, message []byte, from netip.AddrPort) (Packet, error) {
	if len(h.auth) < handshakeAuthSize {
		return Packet{}, errAuthSize
	}
	p := Packet{From: enode.ID(h.auth), Nonce: h.nonce}
	sizes, rest := h.auth[32:34], h.auth[handshakeAuthSize:]
	if sizes[0] != signatureSize || sizes[1] != publicSize || len(rest) < signatureSize+publicSize {
		return Packet{}, errAuthSize
	}
	peer := Peer{p.From, from}
	sent, ok := c.challenges.Get(peer)
	if !ok || time.Since(sent.at) > challengeTimeout {
		return Packet{}, errNoChallenge
	}
	c.challenges.Remove(peer)
	signature, ephemeral, record := rest[:signatureSize], rest[signatureSize:][:publicSize], rest[signatureSize+publicSize:]
	n, err := c.handshakeNode(p.From, sent.known, record)
	if err != nil {
		return Packet{}, err
	}
	if err := verifyID(n, signature, sent.data, ephemeral, c.local.ID()); err != nil {
		return Packet{}, err
	}
	public, err := crypto.DecompressPubkey(ephemeral)
	if err != nil {
		return Packet{}, errOutsideCurve
	}
	k, err := deriveKeys(c.key, public, p.From, c.local.ID(), sent.data)
	if err != nil {
		return Packet{}, err
	}
	k = k.flipped()
	plain, err := open(k.read, h, message)
	if err != nil {
		return Packet{}, errUndecrypted
	}
	c.begin(peer, k, 0)
	p.Node = n
	p.Message, err = decodeMessage(plain)
	return p, err
}

// handshakeNode is the node whose signature a handshake has: its record in the packet,
// or the known one when there is none, or none that is valid and newer.
func (c *Codec) handshakeNode(id enode.ID, known *enode.Node, record []byte) (*enode.Node, error) {
	if len(record) == 0 && known == nil {
		return nil, errNoRecord
	}
	n, err := c.decodeRecord(id, record)
	if known != nil && (err != nil || n.Seq() <= known.Seq()) {
		return known, nil //nolint:nilerr // the signature is checked with the key of the known record
	}
	return n, err
}

func (c *Codec) decodeRecord(id enode.ID, raw []byte) (*enode.Node, error) {
	var r enr.Record
	if err := rlp.DecodeBytes(raw, &r); err != nil {
		return nil, err
	}
	n, err := enode.New(c.schemes, &r)
	if err != nil {
		return nil, err
	}
	if n.ID() != id {
		return nil, errOtherRecord
	}
	return n, nil
}
