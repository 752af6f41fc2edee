package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
)

const (
	keySize       = 16 // AES-128
	signatureSize = 64 // r and s
	publicSize    = 33 // compressed
	tagSize       = 16 // of AES-GCM
)

var (
	errSignature = errors.New("invalid id signature")
)

// keys are one side's keys of a session.
type keys struct{ write, read [keySize]byte }

func (k keys) flipped() keys { return keys{k.read, k.write} }

// deriveKeys gives the keys of a session as its initiator has them.
func deriveKeys(private *ecdsa.PrivateKey, public *ecdsa.PublicKey, initiator, recipient enode.ID, challenge []byte) (keys, error) {
	shared := ecdh(private, public)
	info := "discovery v5 key agreement" + string(initiator[:]) + string(recipient[:])
	derived, err := hkdf.Key(sha256.New, shared[:], challenge, info, 2*keySize)
	if err != nil {
		return keys{}, err
	}
	return keys{[keySize]byte(derived), [keySize]byte(derived[keySize:])}, nil
}

// ecdh is the compressed point of the key agreement.
func ecdh(private *ecdsa.PrivateKey, public *ecdsa.PublicKey) (shared [publicSize]byte) {
	x, y := crypto.S256().ScalarMult(public.X, public.Y, private.D.Bytes()) //nolint:staticcheck // crypto/ecdh does not have this curve
	shared[0] = 2 | byte(y.Bit(0))
	x.FillBytes(shared[1:])
	return shared
}

// idHash is what an id signature signs.
func idHash(challenge, ephemeral []byte, recipient enode.ID) []byte {
	h := sha256.New()
	h.Write([]byte("discovery v5 identity proof"))
	h.Write(challenge)
	h.Write(ephemeral)
	h.Write(recipient[:])
	return h.Sum(nil)
}

func signID(private *ecdsa.PrivateKey, challenge, ephemeral []byte, recipient enode.ID) ([]byte, error) {
	signature, err := crypto.Sign(idHash(challenge, ephemeral, recipient), private)
	if err != nil {
		return nil, err
	}
	return signature[:signatureSize], nil // without the recovery id
}

// verifyID checks the id signature of the node that a record describes.
func verifyID(n *enode.Node, signature, challenge, ephemeral []byte, recipient enode.ID) error {
	var public []byte
	if err := n.Load(enr.WithEntry("secp256k1", &public)); err != nil {
		return err
	}
	if !crypto.VerifySignature(public, idHash(challenge, ephemeral, recipient), signature) {
		return errSignature
	}
	return nil
}

// gcm is the cipher of messages.
func gcm(key [keySize]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has the size of AES-128
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the block size of GCM
	}
	return aead
}
