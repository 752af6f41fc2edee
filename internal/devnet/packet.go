package devnet

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

// discoveryConn is a node's discv5 socket: behind the node's packet filter, if it has
// one, and as far away as Config.RoundTrip says. It notes who completes a handshake.
type discoveryConn struct {
	*net.UDPConn
	id        enode.ID
	filter    *packetFilter // nil without quotas
	roundTrip time.Duration
	met       *metNodes
}

// ReadFromUDPAddrPort returns the next packet that passes the filter.
func (c *discoveryConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := c.UDPConn.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, from, err
		}
		header := unmask(c.id, b[:n])
		id, named := header.source()
		if c.filter != nil && !c.filter.passes(from.Addr(), id, named, time.Now()) {
			continue
		}
		if record := header.record(); record != nil {
			c.met.add(record)
		}
		return n, from, nil
	}
}

// WriteToUDPAddrPort sends the packet after the whole round trip, so that a request
// and its answer take as long as with half of it each way.
func (c *discoveryConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if c.roundTrip <= 0 {
		return c.UDPConn.WriteToUDPAddrPort(b, to)
	}
	packet := append([]byte(nil), b...)
	time.AfterFunc(c.roundTrip, func() { _, _ = c.UDPConn.WriteToUDPAddrPort(packet, to) })
	return len(b), nil
}

// Layout of a discv5 packet (discv5-wire.md): a masking IV of 16 bytes, then, masked
// with AES-CTR, the static header of 23 bytes and the authdata.
const (
	maskingIV     = aes.BlockSize
	staticHeader  = 23
	flagAt        = maskingIV + 8
	authSizeAt    = maskingIV + 21
	authdataAt    = maskingIV + staticHeader
	flagWhoareyou = 1
	flagHandshake = 2
)

// packetHeader is the unmasked header of a discv5 packet.
type packetHeader struct {
	flag     byte
	authdata []byte
}

// unmask reads the header of a packet to the node with the id self; it is empty when
// the packet is too short for it.
func unmask(self enode.ID, packet []byte) (h packetHeader) {
	block, err := aes.NewCipher(self[:maskingIV])
	if err != nil || len(packet) < authdataAt { // the cipher takes any key of 16 bytes
		return h
	}
	header := append([]byte(nil), packet...)
	stream := cipher.NewCTR(block, packet[:maskingIV])
	stream.XORKeyStream(header[maskingIV:authdataAt], header[maskingIV:authdataAt])
	size := int(binary.BigEndian.Uint16(header[authSizeAt:]))
	if size > len(header)-authdataAt {
		return h
	}
	h.flag, h.authdata = header[flagAt], header[authdataAt:authdataAt+size]
	stream.XORKeyStream(h.authdata, h.authdata)
	return h
}

// source is the sender's node id, which begins the authdata of all but WHOAREYOU
// packets.
func (h packetHeader) source() (id enode.ID, ok bool) {
	if h.flag == flagWhoareyou || len(h.authdata) < len(id) {
		return id, false
	}
	return enode.ID(h.authdata[:len(id)]), true
}

// record is the sender's record in a handshake packet, behind signature and ephemeral
// key; nil when there is none.
func (h packetHeader) record() *enode.Node {
	const sizesAt = len(enode.ID{})
	if h.flag != flagHandshake || len(h.authdata) < sizesAt+2 {
		return nil
	}
	at := sizesAt + 2 + int(h.authdata[sizesAt]) + int(h.authdata[sizesAt+1])
	if at >= len(h.authdata) {
		return nil
	}
	var r gethenr.Record
	if rlp.DecodeBytes(h.authdata[at:], &r) != nil {
		return nil
	}
	n, err := enode.New(enode.ValidSchemes, &r)
	if err != nil {
		return nil
	}
	return n
}

// maxMet bounds the nodes that one node remembers.
const maxMet = 1000

// metNodes are the nodes that introduced themselves in a handshake. go-ethereum's table
// is not enough: it ignores them until its first lookups have ended, which on a busy
// machine takes long, and they do not introduce themselves again.
type metNodes struct {
	mu   sync.Mutex
	byID map[enode.ID]*enode.Node
}

func (m *metNodes) add(n *enode.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byID == nil {
		m.byID = make(map[enode.ID]*enode.Node)
	}
	if len(m.byID) < maxMet || m.byID[n.ID()] != nil {
		m.byID[n.ID()] = n
	}
}

func (m *metNodes) list() []*enode.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*enode.Node, 0, len(m.byID))
	for _, n := range m.byID {
		list = append(list, n)
	}
	return list
}
