package devnet

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/discover/v5wire"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

func TestPacketFilter(t *testing.T) {
	address, other := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	start := time.Unix(1_700_000_000, 0)
	send := func(f *packetFilter, from netip.Addr, id byte, packets int, now time.Time) (passed int) {
		for range packets {
			if f.passes(from, enode.ID{id}, true, now) {
				passed++
			}
		}
		return passed
	}

	f := newPacketFilter()
	for s := range 20 { // as much as is allowed, without end
		if got := send(f, address, 1, quotaOfNode, start.Add(time.Duration(s)*time.Second)); got != quotaOfNode {
			t.Errorf("second %d: %d packets passed", s, got)
		}
	}
	if f.bans() != (Bans{}) {
		t.Errorf("banned %+v within the quota", f.bans())
	}

	f = newPacketFilter()
	if got := send(f, address, 1, quotaOfNode+1, start); got != quotaOfNode || f.bans() != (Bans{Nodes: 1}) {
		t.Errorf("%d packets passed, banned %+v", got, f.bans())
	}
	if got := send(f, other, 1, 1, start.Add(quotaBan-time.Second)); got != 0 {
		t.Error("a banned node is read from another address")
	}
	if got := send(f, other, 1, 1, start.Add(quotaBan+time.Second)); got != 1 {
		t.Error("a node is still banned after its time")
	}

	f = newPacketFilter()
	for id := range byte(quotaOfAddress) {
		send(f, address, id, 1, start)
	}
	if send(f, address, 100, 1, start) != 0 || send(f, address, 101, 1, start.Add(time.Minute)) != 0 || f.bans() != (Bans{Addresses: 1}) {
		t.Errorf("many node ids of an address: banned %+v", f.bans())
	}

	f = newPacketFilter()
	for i := range byte(quotaBannedNodes + 1) { // one after the other, each too fast
		send(f, address, i, quotaOfNode+1, start.Add(time.Duration(i)*time.Minute))
	}
	if f.bans() != (Bans{Nodes: quotaBannedNodes + 1, Addresses: 1}) {
		t.Errorf("%d banned node ids of an address: banned %+v", quotaBannedNodes+1, f.bans())
	}
}

// The sender is read from the packets of the library that nodes use.
func TestSourceOfAPacket(t *testing.T) {
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	db, err := enode.OpenDB("")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	local := enode.NewLocalNode(db, key)
	codec := v5wire.NewCodec(local, key, mclock.System{}, nil)
	to := enode.ID{1, 2, 3}
	packet, _, err := codec.Encode(to, "", &v5wire.Ping{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := unmask(to, packet).source(); !ok || id != local.ID() {
		t.Errorf("source %v, %v, want %v", id, ok, local.ID())
	}
	challenge, _, err := codec.Encode(to, "", &v5wire.Whoareyou{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := unmask(to, challenge).source(); ok {
		t.Errorf("WHOAREYOU comes from %v", id)
	}
}

func FuzzPacketHeader(f *testing.F) {
	f.Add([]byte{1}, make([]byte, 80))
	f.Fuzz(func(t *testing.T, id, packet []byte) {
		var self enode.ID
		copy(self[:], id)
		h := unmask(self, packet)
		h.source()
		h.record()
	})
}
