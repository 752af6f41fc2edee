package discv5

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/discv5/wire"
)

// recentNodes is how many decoded records are at least kept; at some 2 KiB each, twice
// that takes 8 MiB.
const recentNodes = 2048

// generationAge is how long a generation takes records in. Each record that is in use comes
// several times in a Revisit; one that has been replaced never comes again.
const generationAge = 2 * DefaultRevisit

// errNoRecord is wrapped by the errors of bytes that are not a record.
var errNoRecord = errors.New("not a record")

// verified is the "v4" identity scheme with a memory. Enumeration brings the same
// record from each of its neighbours; checking one costs a signature verification
// and a point decompression, recognising it a hash. The newest need not be decoded again
// either. Two generations bound both.
type verified struct {
	mu    sync.Mutex
	ids   generations[enode.ID]
	nodes generations[*enode.Node]
}

// generations maps at least limit of the keys used last to their values, at most twice
// as many, and forgets those not used for two generationAges.
type generations[V any] struct {
	limit      int
	young, old map[recordHash]V
	began      time.Time // young
}

func (g *generations[V]) get(h recordHash) (v V, ok bool) {
	if v, ok = g.young[h]; ok {
		return v, true
	}
	if v, ok = g.old[h]; ok {
		g.put(h, v)
	}
	return v, ok
}

func (g *generations[V]) put(h recordHash, v V) {
	if now := time.Now(); g.young == nil || len(g.young) >= g.limit || now.Sub(g.began) >= generationAge {
		g.old, g.young, g.began = g.young, make(map[recordHash]V), now
	}
	g.young[h] = v
}

// recordHash is the SHA-256 of the record's whole encoding, signature included.
type recordHash [sha256.Size]byte

// newVerified remembers at least limit records and at most twice that.
func newVerified(limit int) *verified {
	return &verified{ids: generations[enode.ID]{limit: limit}, nodes: generations[*enode.Node]{limit: min(limit, recentNodes)}}
}

func hashRecord(r *gethenr.Record) (h recordHash, err error) {
	d := sha256.New()
	if err := r.EncodeRLP(d); err != nil {
		return h, err
	}
	d.Sum(h[:0])
	return h, nil
}

// node decodes a record and checks its signature; errNoRecord is wrapped where the fault
// is in its encoding. The node may be shared: it is not to be changed.
func (v *verified) node(raw []byte) (*enode.Node, error) {
	h := recordHash(sha256.Sum256(raw))
	v.mu.Lock()
	n, ok := v.nodes.get(h)
	v.mu.Unlock()
	if ok {
		return n, nil
	}
	r, err := wire.DecodeRecord(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoRecord, err)
	}
	if n, err = enode.New(v, r); err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.nodes.put(h, n)
	v.mu.Unlock()
	return n, nil
}

func (v *verified) lookup(h recordHash) (enode.ID, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ids.get(h)
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
		v.ids.put(h, enode.ID(addr))
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
