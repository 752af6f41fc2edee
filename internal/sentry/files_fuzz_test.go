package sentry

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzPeerRow: no row of peers.db has an effect that no peer could have: it is refused, or
// the peer is due within the longest wait.
func FuzzPeerRow(f *testing.F) {
	f.Add("16Uiu2HA", []byte{1}, "enr:-", int64(1), int64(5), int64(0), int64(2), true, int64(1), 0.5, int64(1), "")
	f.Add("", []byte{}, "", int64(-1), int64(-1), int64(1<<62), int64(-1), false, int64(-1), -1.0, int64(-1), "127.0.0.1:9000")
	n := testNetwork(f, genesis, 0)
	f.Fuzz(func(t *testing.T, id string, nodeID []byte, record string, seq, due, notBefore, fails int64, reachable bool, watches int64, weight float64, began int64, address string) {
		row := storedPeer{ID: id, ENR: record, Seq: uint64(seq), Due: due, NotBefore: notBefore, Fails: int(fails), Reachable: reachable, Began: began, Address: address, Watches: uint32(watches), WatchWeight: float32(weight)}
		copy(row.NodeID[:], nodeID)
		s := &Store{network: networkIDOf(n), maxPeers: 10, log: discardLog(), loaded: newLoaded(), pending: newChanges()}
		s.loaded.apply(row, 10, genesis)
		s.loaded.apply(row, 10, genesis) // twice is once
		if len(s.loaded.peers) > 1 {
			t.Errorf("%d peers of one row", len(s.loaded.peers))
		}
		table := newTable(Config{}.withDefaults(""), forksOf(n))
		table.adopt(s, func(*peer) bool { return true }, genesis)
		for _, p := range table.byID {
			if p.due.After(genesis.Add(longestWait)) {
				t.Errorf("due at %v", p.due)
			}
		}
	})
}

// FuzzIdentityFiles: whatever the files have, a start gets a usable identity or an error, and
// the next start the same identity with a later boot.
func FuzzIdentityFiles(f *testing.F) {
	f.Add([]byte("0000000000000000000000000000000000000000000000000000000000000001\n"), []byte(`{"sentry_id":"A","boot":1}`))
	f.Add([]byte{}, []byte{0, 0})
	f.Add([]byte("ff"), []byte(`{"sentry_id":"A","boot":18446744073709551615}`))
	f.Fuzz(func(t *testing.T, key, identity []byte) {
		dir := t.TempDir()
		for name, content := range map[string][]byte{keyFile: key, identityFile: identity} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		one, err := LoadIdentity(dir)
		if err != nil {
			return
		}
		two, err := LoadIdentity(dir)
		if err != nil || two.ID != one.ID || string(two.Key) != string(one.Key) || two.Boot <= one.Boot || one.ID == "" || !validScalar(one.Key) {
			t.Errorf("identities %+v and %+v, %v", one, two, err)
		}
	})
}
