package tracker

import "testing"

// FuzzPeerRow: a row of tracker.db gives a peer or an error.
func FuzzPeerRow(f *testing.F) {
	f.Add("16Uiu2HA", []byte(`{"record":{"at":1,"seq":2},"lost_days":1}`), []byte{})
	f.Add("a", []byte(`{"estimate":{}}`), []byte{0x80, 0x80})
	f.Add("", []byte("null"), []byte{2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, id string, state, days []byte) {
		rows := make(chan row, 1)
		rows <- row{id, state, days}
		close(rows)
		peers, err := decodePeers(rows)
		if (err == nil) != (len(peers) == 1) {
			t.Errorf("%d peers, %v", len(peers), err)
		}
		for _, p := range peers {
			decodable(p.days)
		}
	})
}
