package p2p

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	ma "github.com/multiformats/go-multiaddr"
)

// dialBook is the peerstore of a crawler: it knows a peer's addresses only while
// that peer is dialled, and then exactly those of the target.
type dialBook struct {
	peerstore.Peerstore
	host *Host
	self peer.ID
}

func newDialBook(h *Host, self peer.ID, key crypto.PrivKey) (*dialBook, error) {
	store, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, fmt.Errorf("peerstore: %w", err)
	}
	if err := errors.Join(store.AddPrivKey(self, key), store.AddPubKey(self, key.GetPublic())); err != nil {
		return nil, fmt.Errorf("peerstore: %w", err)
	}
	return &dialBook{Peerstore: store, host: h, self: self}, nil
}

// AddPubKey keeps our own key only: a peer's is in its id.
func (b *dialBook) AddPubKey(p peer.ID, key crypto.PubKey) error {
	if p == b.self {
		return b.Peerstore.AddPubKey(p, key)
	}
	return nil
}

// Addrs gives our own addresses, or the target's while it is dialled.
func (b *dialBook) Addrs(p peer.ID) []ma.Multiaddr {
	if p == b.self {
		return b.Peerstore.Addrs(p)
	}
	b.host.mu.Lock()
	defer b.host.mu.Unlock()
	if dial := b.host.dials[p]; dial != nil {
		return slices.Clone(dial.addrs)
	}
	return nil
}

// AddAddr keeps our own addresses only.
func (b *dialBook) AddAddr(p peer.ID, addr ma.Multiaddr, ttl time.Duration) {
	b.AddAddrs(p, []ma.Multiaddr{addr}, ttl)
}

// AddAddrs keeps our own addresses only.
func (b *dialBook) AddAddrs(p peer.ID, addrs []ma.Multiaddr, ttl time.Duration) {
	if p == b.self {
		b.Peerstore.AddAddrs(p, addrs, ttl)
	}
}

// SetAddr keeps our own addresses only.
func (b *dialBook) SetAddr(p peer.ID, addr ma.Multiaddr, ttl time.Duration) {
	b.SetAddrs(p, []ma.Multiaddr{addr}, ttl)
}

// SetAddrs keeps our own addresses only.
func (b *dialBook) SetAddrs(p peer.ID, addrs []ma.Multiaddr, ttl time.Duration) {
	if p == b.self {
		b.Peerstore.SetAddrs(p, addrs, ttl)
	}
}

// UpdateAddrs keeps our own addresses only.
func (b *dialBook) UpdateAddrs(p peer.ID, oldTTL, newTTL time.Duration) {
	if p == b.self {
		b.Peerstore.UpdateAddrs(p, oldTTL, newTTL)
	}
}
