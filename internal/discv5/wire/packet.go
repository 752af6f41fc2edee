package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

const (
	// MaxPacket is the size of the largest packet, in bytes.
	MaxPacket = 1280
	// minPacket is the size of the smallest one, a WHOAREYOU.
	minPacket = headerSize + whoareyouAuthSize

	ivSize = 16
	// headerSize is the size of a header before its authdata: the masking IV,
	// protocol-id (6 bytes), version (2), flag (1), nonce (12) and authdata-size (2).
	headerSize = ivSize + 23
	protocolID = "discv5"
	version    = 1

	messageAuthSize   = 32         // src-id
	whoareyouAuthSize = 16 + 8     // id-nonce, enr-seq
	handshakeAuthSize = 32 + 1 + 1 // src-id, sig-size, eph-key-size; then signature, key and record
)

// Flags of a header.
const (
	flagMessage byte = iota
	flagWhoareyou
	flagHandshake
)

var (
	errSize     = fmt.Errorf("a packet has %d to %d bytes", minPacket, MaxPacket)
	errProtocol = errors.New("not a discv5 packet")
	errAuthSize = errors.New("authdata of the wrong size")
)

// Nonce identifies a packet, and is the nonce of its encryption.
type Nonce [12]byte

// header is the unmasked header of a packet.
type header struct {
	flag  byte
	nonce Nonce
	auth  []byte // authdata, part of raw
	// raw is the whole header with the masking IV. It is the additional data of the
	// message's encryption, and a WHOAREYOU's is the challenge data of the handshake.
	raw []byte
}

// newHeader assembles a header. Its array has room for a message.
func newHeader(iv [ivSize]byte, flag byte, nonce Nonce, auth ...[]byte) []byte {
	size := 0
	for _, part := range auth {
		size += len(part)
	}
	b := append(make([]byte, 0, MaxPacket), iv[:]...)
	b = append(b, protocolID...)
	b = binary.BigEndian.AppendUint16(b, version)
	b = append(b, flag)
	b = append(b, nonce[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	for _, part := range auth {
		b = append(b, part...)
	}
	return b
}

// maskingCipher is keyed with the id of a packet's recipient.
func maskingCipher(recipient enode.ID) cipher.Block {
	block, err := aes.NewCipher(recipient[:16])
	if err != nil {
		panic(err) // 16 bytes are a key of AES-128
	}
	return block
}

// mask encrypts a header in place.
func mask(recipient enode.ID, header []byte) {
	cipher.NewCTR(maskingCipher(recipient), header[:ivSize]).XORKeyStream(header[ivSize:], header[ivSize:])
}

// unmask reads the header of a packet to the node whose masking cipher is given. The
// header is a copy in buf, what follows it a part of the packet.
func unmask(ours cipher.Block, packet []byte, buf *[MaxPacket]byte) (h header, message []byte, err error) {
	if len(packet) < minPacket || len(packet) > MaxPacket {
		return header{}, nil, errSize
	}
	stream := cipher.NewCTR(ours, packet[:ivSize])
	static := buf[ivSize:headerSize]
	stream.XORKeyStream(static, packet[ivSize:headerSize])
	if string(static[:6]) != protocolID || binary.BigEndian.Uint16(static[6:]) != version {
		return header{}, nil, errProtocol
	}
	end := headerSize + int(binary.BigEndian.Uint16(static[21:]))
	if end > len(packet) {
		return header{}, nil, errAuthSize
	}
	copy(buf[:], packet[:ivSize])
	stream.XORKeyStream(buf[headerSize:end], packet[headerSize:end])
	return header{static[8], Nonce(static[9:21]), buf[headerSize:end], buf[:end]}, packet[end:], nil
}
