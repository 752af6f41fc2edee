package enr

import (
	"bytes"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/mr-tron/base58"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	keySize = 33
	// peerIDHeader precedes the compressed key in a peer id: identity multihash of
	// 37 bytes (00 25), which are the protobuf PublicKey{Type: Secp256k1 (08 02),
	// Data: 33 bytes (12 21)} (libp2p specs, peer-ids).
	peerIDHeader = "\x00\x25\x08\x02\x12\x21"
	// maxPeerID bounds the text of a peer id: base58 needs at most 1.37 characters
	// a byte.
	maxPeerID = (keySize + len(peerIDHeader)) * 138 / 100
)

// PeerIDFromKey gives the libp2p peer id ("16Uiu2HA...") of a compressed
// secp256k1 public key of 33 bytes.
func PeerIDFromKey(compressed []byte) (string, error) {
	if len(compressed) != keySize {
		return "", fmt.Errorf("public key: %w", sizeError(compressed, keySize))
	}
	if _, err := crypto.DecompressPubkey(compressed); err != nil {
		return "", fmt.Errorf("public key %x: %w", compressed, err)
	}
	return base58.Encode(append([]byte(peerIDHeader), compressed...)), nil
}

// NodeIDFromPeerID gives the discv5 node id that belongs to a peer id's key. Only
// peer ids that hold a secp256k1 key have one: consensus clients use no other.
func NodeIDFromPeerID(peerID string) (eth2.NodeID, error) {
	if len(peerID) > maxPeerID {
		return eth2.NodeID{}, fmt.Errorf("peer id %.80q: %d characters are too many for a secp256k1 key", peerID, len(peerID))
	}
	b, err := base58.Decode(peerID)
	if err != nil {
		return eth2.NodeID{}, fmt.Errorf("peer id %q: %w", peerID, err)
	}
	compressed, ok := bytes.CutPrefix(b, []byte(peerIDHeader))
	if !ok || len(compressed) != keySize {
		return eth2.NodeID{}, fmt.Errorf("peer id %q: holds no secp256k1 key", peerID)
	}
	key, err := crypto.DecompressPubkey(compressed)
	if err != nil {
		return eth2.NodeID{}, fmt.Errorf("peer id %q: %w", peerID, err)
	}
	return eth2.NodeID(enode.PubkeyToIDV4(key)), nil
}
