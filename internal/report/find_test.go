package report

import (
	"errors"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// A node is found by whatever a user has of it, in every form in which it is pasted.
func TestFind(t *testing.T) {
	net, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	text := net.Bootnodes[0]
	record, err := enr.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	nodeID := record.NodeID.String()
	other := "16Uiu2HAmOther"
	r := reportOf(t, dataset.Range{},
		dataset.DiscoveryRow{ID: record.PeerID, NodeID: nodeID, IP: ptr("192.0.2.1"), IP6: ptr("2001:db8::1"), Port: ptr[int32](9000)},
		dataset.DiscoveryRow{ID: other, NodeID: "0xffff00", IP: ptr("192.0.2.2"), Port: ptr[int32](9000)},
		dataset.DiscoveryRow{ID: "16Uiu2HAmThird", NodeID: "0xffff11", IP: ptr("192.0.2.2"), Port: ptr[int32](9001)},
		dataset.ValidatorRow{ID: record.PeerID, Direction: "outbound", Multiaddr: "/ip4/192.0.2.7/udp/9001/quic-v1"},
		dataset.ValidatorRow{ID: record.PeerID, Direction: "inbound", Multiaddr: "/ip4/192.0.2.8/tcp/55555", Common: dataset.Common{Timestamp: 1}})
	for _, id := range []string{
		record.PeerID, record.PeerID[:20], record.PeerID[:20] + "…", record.PeerID[:20] + "...", nodeID, strings.ToUpper(nodeID), nodeID[2:],
		strings.ToUpper(nodeID[2:]), nodeID[:10], nodeID[2:10], text, " " + text + "\n", `"` + text + `"`, "192.0.2.1", "192.0.2.1:9000", "192.0.2.7",
		"192.0.2.7:9001", "192.0.2.8", "::ffff:192.0.2.1", "2001:db8::1", "[2001:db8::1]", "[2001:DB8::1]:9000", "/ip4/192.0.2.7/udp/9001/quic-v1", "/ip4/192.0.2.1",
		"/ip4/203.0.113.1/tcp/1/p2p/" + record.PeerID,
	} {
		if n, err := r.Find(id); err != nil || n.ID != record.PeerID {
			t.Errorf("%q: %v, %v", id, n, err)
		}
	}
	if n, err := r.Find("192.0.2.2:9001"); err != nil || n.ID != "16Uiu2HAmThird" {
		t.Errorf("%v, %v", n, err)
	}
	for id, want := range map[string]error{
		"192.0.2.3": errNotFound, "192.0.2.1:9": errNotFound, "0x1234": errNotFound, "16Uiu2HAmNowhere": errNotFound, "/ip4/192.0.2.1/tcp/9": errNotFound,
		"192.0.2.2": ErrAmbiguous, "ffff": ErrAmbiguous, "16Ui": ErrAmbiguous,
		"16": ErrBadName, "": ErrBadName, "enr:-xyz": ErrBadName,
	} {
		if n, err := r.Find(id); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v; want %v", id, n, err, want)
		}
	}
	if _, err := r.Find("192.0.2.2"); err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("an ambiguous address does not name the nodes: %v", err)
	}
}

func FuzzFind(f *testing.F) {
	for _, text := range []string{"16Uiu2HAm", "0xff", "enr:-", "192.0.2.1:9000", "[::1]:1", "/ip4/1.2.3.4/tcp/99999", "/p2p/"} {
		f.Add(text)
	}
	r := newReport()
	if err := r.addDiscovery(dataset.DiscoveryRow{ID: "16Uiu2HAmA", NodeID: "0xaabb", IP: ptr("192.0.2.1"), Port: ptr[int32](9000)}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := r.Find(text); (n == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", text, n, err)
		}
	})
}
