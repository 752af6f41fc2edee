package discv5

import (
	"crypto/sha256"
	"sync"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
)

// verified is the "v4" identity scheme with a memory. Enumeration brings the same
// record from each of its neighbours; checking one costs a signature verification
// and a point decompression, recognising it a hash. Two generations bound it.
type verified struct {
	limit int

	mu         sync.Mutex
	young, old map[recordHash]enode.ID
}

// recordHash is the SHA-256 of the record's whole encoding, signature included.
type recordHash [sha256.Size]byte

// newVerified remembers at least limit records and at most twice that.
func newVerified(limit int) *verified {
	return &verified{limit: limit, young: make(map[recordHash]enode.ID)}
}

func hashRecord(r *gethenr.Record) (h recordHash, err error) {
	d := sha256.New()
	if err := r.EncodeRLP(d); err != nil {
		return h, err
	}
	d.Sum(h[:0])
	return h, nil
}

func (v *verified) lookup(h recordHash) (enode.ID, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	id, ok := v.young[h]
	if !ok {
		if id, ok = v.old[h]; ok {
			v.remember(h, id)
		}
	}
	return id, ok
}

// remember is called with mu held.
func (v *verified) remember(h recordHash, id enode.ID) {
	if len(v.young) >= v.limit {
		v.old, v.young = v.young, make(map[recordHash]enode.ID)
	}
	v.young[h] = id
}

// Verify implements enr.IdentityScheme.
func (v *verified) Verify(r *gethenr.Record, sig []byte) error {
	h, err := hashRecord(r)
	if err != nil { // not encoded yet: nothing to recognise it by
		return enode.ValidSchemes.Verify(r, sig)
	}
	if _, ok := v.lookup(h); ok {
		return nil
	}
	if err := enode.ValidSchemes.Verify(r, sig); err != nil {
		return err
	}
	if addr := enode.ValidSchemes.NodeAddr(r); len(addr) == len(enode.ID{}) {
		v.mu.Lock()
		v.remember(h, enode.ID(addr))
		v.mu.Unlock()
	}
	return nil
}

// NodeAddr implements enr.IdentityScheme.
func (v *verified) NodeAddr(r *gethenr.Record) []byte {
	if h, err := hashRecord(r); err == nil {
		if id, ok := v.lookup(h); ok {
			return id[:]
		}
	}
	return enode.ValidSchemes.NodeAddr(r)
}
