package sentry

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// A purge leaves no peer in the table that is named by its id, its node id or an address of its
// record, and no excluded address; nor anything of it in the files.
func TestPurgePeerTable(t *testing.T) {
	net := testNetwork(t, genesis, 0)
	dir := t.TempDir()
	named, byNode, found, kept := signedRecord(t, net, 1, 9000), signedRecord(t, net, 1, 9002), signedRecord(t, net, 1, 9004), signedRecord(t, net, 1, 9006)
	all := newChanges()
	for _, r := range []*enr.Record{named, byNode, found, kept} {
		all.peers[r.PeerID] = storedPeer{ID: r.PeerID, NodeID: r.NodeID, ENR: r.Raw, Seq: 1}
	}
	for _, at := range []string{"192.0.2.1:9000", "198.51.100.1:9000"} {
		all.dialled[netip.MustParseAddrPort(at)] = 1
	}
	if err := buildDB(t.Context(), filepath.Join(dir, peersFile), networkIDOf(net), all); err != nil {
		t.Fatal(err)
	}
	x, err := NewExclude("", []string{named.PeerID, byNode.NodeID.String(), "192.0.2.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := PurgePeerTable(t.Context(), dir, func(id string, at ...netip.Addr) bool {
		return id == found.PeerID || x.Peer(id) || slices.ContainsFunc(at, x.Address)
	})
	if err != nil || n != 3 {
		t.Errorf("%d peers, %v", n, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, gone := range []string{named.PeerID, byNode.Raw, found.PeerID, "192.0.2.1:9000"} {
			if bytes.Contains(data, []byte(gone)) {
				t.Errorf("%s still has %s", file, gone)
			}
		}
		if bytes.Contains(data, []byte(kept.Raw)) && bytes.Contains(data, []byte("198.51.100.1:9000")) {
			left++
		}
	}
	if left != 1 {
		t.Errorf("%d files have the peer that stays", left)
	}
	if again, err := PurgePeerTable(t.Context(), dir, func(string, ...netip.Addr) bool { return false }); err != nil || again != 0 {
		t.Errorf("again: %d, %v", again, err)
	}
}
