package wire

import (
	"crypto/cipher"
	"crypto/ecdsa"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ethereum/go-ethereum/common/lru"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

const (
	// maxSessions bounds the sessions, of some 300 bytes each. Nodes forget theirs after
	// the next thousand, so more would be of little use.
	maxSessions = 4096
	// maxChallenges bounds the WHOAREYOU packets that wait for a handshake. Packets from
	// forged addresses can reach it.
	maxChallenges = 8192
	// challengeTimeout is how long a handshake may take to come, the delay of our
	// WHOAREYOU by its pace included.
	challengeTimeout = 2 * time.Second
	// randomSize is the size of the random content of a packet without session, in bytes.
	randomSize = 20
)

var (
	errMessageSize  = fmt.Errorf("the message does not fit into a packet of %d bytes", MaxPacket)
	errFlag         = errors.New("unknown flag")
	errNoChallenge  = errors.New("a handshake without a challenge of ours")
	errNoRecord     = errors.New("a handshake without record, of a node that is not known")
	errOtherRecord  = errors.New("a handshake with the record of another node")
	errUndecrypted  = errors.New("the message of a handshake cannot be decrypted")
	errOutsideCurve = errors.New("the key of a handshake is not on the curve")
)

// Peer is a node at an address. Sessions belong to both: a node that moves needs
// another handshake.
type Peer struct {
	ID   enode.ID
	Addr netip.AddrPort
}

// session is what both sides derived from the last handshake.
type session struct {
	keys
	// previous is the read key of the session before. When both sides begin a handshake
	// at the same time, each may use the other one of the two sessions.
	previous [keySize]byte
	sent     uint32
}

// challenge is a WHOAREYOU that we sent.
type challenge struct {
	data  []byte      // its unmasked header
	known *enode.Node // the node's record whose seq it has, nil for none
	at    time.Time
}

// Whoareyou asks to repeat a packet as a handshake.
type Whoareyou struct {
	Nonce     Nonce  // of the packet that the sender could not decrypt
	RecordSeq uint64 // of our record that the sender has, 0 for none
	data      []byte // the unmasked header
}

// Packet is a decoded packet. It has a Message or a Whoareyou; one with neither is a
// message that no session decrypts, which EncodeWhoareyou answers.
type Packet struct {
	From      enode.ID // as a message claims until it is decrypted; zero for a Whoareyou
	Nonce     Nonce
	Message   Message
	Whoareyou *Whoareyou
	// Node is the node's record that a handshake proved, nil for other packets.
	Node *enode.Node
}

// Codec encodes and decodes the packets of one node. It is not safe for concurrent use.
type Codec struct {
	local      *enode.LocalNode
	key        *ecdsa.PrivateKey
	schemes    enr.IdentityScheme
	masking    cipher.Block // of packets to us
	sessions   lru.BasicLRU[Peer, *session]
	challenges lru.BasicLRU[Peer, *challenge]
	header     [MaxPacket]byte // of the packet that is decoded
}

// NewCodec returns the codec of the local node, whose key is given. The schemes check
// the records in handshakes.
func NewCodec(local *enode.LocalNode, key *ecdsa.PrivateKey, schemes enr.IdentityScheme) *Codec {
	return &Codec{
		local: local, key: key, schemes: schemes, masking: maskingCipher(local.ID()),
		sessions:   lru.NewBasicLRU[Peer, *session](maxSessions),
		challenges: lru.NewBasicLRU[Peer, *challenge](maxChallenges),
	}
}

// Encode encodes a message. Without a session with the peer it gives a packet with
// random content instead, which the peer answers with WHOAREYOU.
func (c *Codec) Encode(to Peer, m Message) ([]byte, Nonce, error) {
	id := c.local.ID()
	s, ok := c.sessions.Get(to)
	if !ok {
		nonce := newNonce(0)
		packet := newHeader(newIV(), flagMessage, nonce, id[:])
		mask(to.ID, packet)
		var random [randomSize]byte
		_, _ = crand.Read(random[:]) // never fails
		return append(packet, random[:]...), nonce, nil
	}
	nonce := s.nextNonce()
	packet, err := seal(to.ID, s.write, nonce, newHeader(newIV(), flagMessage, nonce, id[:]), m)
	return packet, nonce, err
}

// EncodeHandshake encodes a message as the answer to the peer's WHOAREYOU, and begins a
// session. n is the node of the peer.
func (c *Codec) EncodeHandshake(n *enode.Node, addr netip.AddrPort, w *Whoareyou, m Message) ([]byte, Nonce, error) {
	ephemeral, err := crypto.GenerateKey()
	if err != nil {
		return nil, Nonce{}, err
	}
	h, s, err := c.handshake(n, w, ephemeral)
	if err != nil {
		return nil, Nonce{}, err
	}
	nonce := s.nextNonce()
	packet, err := seal(n.ID(), s.write, nonce, newHeader(newIV(), flagHandshake, nonce, h...), m)
	if err != nil {
		return nil, Nonce{}, err
	}
	c.begin(Peer{n.ID(), addr}, s.keys, s.sent)
	return packet, nonce, nil
}

// handshake gives the authdata of a handshake, and the session that it begins.
func (c *Codec) handshake(n *enode.Node, w *Whoareyou, ephemeral *ecdsa.PrivateKey) (auth [][]byte, s *session, err error) {
	var public enode.Secp256k1
	if err := n.Load(&public); err != nil {
		return nil, nil, err
	}
	k, err := deriveKeys(ephemeral, (*ecdsa.PublicKey)(&public), c.local.ID(), n.ID(), w.data)
	if err != nil {
		return nil, nil, err
	}
	compressed := crypto.CompressPubkey(&ephemeral.PublicKey)
	signature, err := signID(c.key, w.data, compressed, n.ID())
	if err != nil {
		return nil, nil, err
	}
	var record []byte
	if ours := c.local.Node(); w.RecordSeq < ours.Seq() {
		if record, err = rlp.EncodeToBytes(ours.Record()); err != nil {
			return nil, nil, err
		}
	}
	id := c.local.ID()
	return [][]byte{id[:], {signatureSize, publicSize}, signature, compressed, record}, &session{keys: k}, nil
}

// EncodeWhoareyou encodes the answer to a packet that no session decrypts. known is the
// record of the node that claims to have sent it, nil when there is none. While a
// handshake is under way, the same challenge is repeated: the node may have sent
// several messages at once.
func (c *Codec) EncodeWhoareyou(to Peer, nonce Nonce, known *enode.Node) []byte {
	pending, ok := c.challenges.Get(to)
	if !ok || time.Since(pending.at) > challengeTimeout {
		var auth [whoareyouAuthSize]byte
		_, _ = crand.Read(auth[:16]) // never fails
		if known != nil {
			binary.BigEndian.PutUint64(auth[16:], known.Seq())
		}
		pending = &challenge{newHeader(newIV(), flagWhoareyou, nonce, auth[:]), known, time.Now()}
		pending.data = append([]byte(nil), pending.data...) // without room for a message
		c.challenges.Add(to, pending)
	}
	packet := append([]byte(nil), pending.data...)
	mask(to.ID, packet)
	return packet
}

// begin stores the keys of a handshake.
func (c *Codec) begin(with Peer, k keys, sent uint32) {
	s := &session{keys: k, previous: k.read, sent: sent}
	if before, ok := c.sessions.Get(with); ok {
		s.previous = before.read
	}
	c.sessions.Add(with, s)
}

func (s *session) nextNonce() Nonce {
	s.sent++
	return newNonce(s.sent)
}

// newNonce is the number of the packet in its session, followed by random bytes.
func newNonce(number uint32) (n Nonce) {
	binary.BigEndian.PutUint32(n[:], number)
	_, _ = crand.Read(n[4:]) // never fails
	return n
}

func newIV() (iv [ivSize]byte) {
	_, _ = crand.Read(iv[:]) // never fails
	return iv
}

// seal encrypts a message and masks the header before it, which it takes over.
func seal(to enode.ID, key [keySize]byte, nonce Nonce, header []byte, m Message) ([]byte, error) {
	plain, err := encodeMessage(m)
	if err != nil {
		return nil, err
	}
	if len(header)+len(plain)+tagSize > MaxPacket {
		return nil, errMessageSize
	}
	packet := gcm(key).Seal(header, nonce[:], plain, header)
	mask(to, packet[:len(header)])
	return packet, nil
}
