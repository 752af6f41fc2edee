package sentry

import (
	"strings"
	"testing"
)

const somePeer = "16Uiu2HAm9dqnTSYPpqFevmJXXvRUavRzcEuYPVS2htkoQLumpu4w"

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"/ip4/192.0.2.1/tcp/9000/p2p/" + somePeer:                                          "tcp 192.0.2.1:9000",
		"/ip4/192.0.2.1/udp/9001/quic-v1/p2p/" + somePeer:                                  "quic 192.0.2.1:9001",
		"/ip6/2001:db8::1/tcp/9000/p2p/" + somePeer + "/":                                  "tcp [2001:db8::1]:9000",
		"/ip4/192.0.2.1/tcp/9000/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA": "tcp 192.0.2.1:9000",
		"/ip4/192.0.2.1/tcp/9000":                                                          "it does not end in the peer's id",
		"/":                                                                                "it does not end in the peer's id",
		"/p2p/" + somePeer:                                                                 "does not begin with an IP address",
		"/ip4/192.0.2.1/tcp/9000/p2p/x":                                                    "its peer id is not valid",
		"/ip4/192.0.2.256/tcp/9000/p2p/" + somePeer:                                        "its IP address is not valid",
		"/ip4/2001:db8::1/tcp/9000/p2p/" + somePeer:                                        "its IP address is not valid",
		"/ip4/192.0.2.1/tcp/0/p2p/" + somePeer:                                             "its port is not",
		"/ip4/192.0.2.1/tcp/70000/p2p/" + somePeer:                                         "its port is not",
		"/ip4/192.0.2.1/udp/9001/p2p/" + somePeer:                                          "its transport is not supported",
		"/ip4/192.0.2.1/tcp/9000/ws/p2p/" + somePeer:                                       "its transport is not supported",
		"/dns4/node.example/tcp/9000/p2p/" + somePeer:                                      "does not begin with an IP address",
		"enr:-nonsense":                                                                    "",
	} {
		target, record, err := ParseTarget(text)
		if err != nil {
			if want == "" || strings.Contains(err.Error(), want) && strings.Contains(err.Error(), "want /ip4/") {
				continue
			}
			t.Errorf("%s: error %v, want %s", text, err, want)
			continue
		}
		got := ""
		for _, at := range target.QUIC {
			got += "quic " + at.String()
		}
		for _, at := range target.TCP {
			got += "tcp " + at.String()
		}
		if got != want || record != nil || !strings.Contains(text, target.PeerID) {
			t.Errorf("%s: %s of %s, want %s", text, got, target.PeerID, want)
		}
	}
}

func TestExcludeText(t *testing.T) {
	x, err := NewExclude("", []string{somePeer, "198.51.100.0/24", "0x" + strings.Repeat("ab", 32)})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		`{"id":"` + somePeer + `"}`:                         true,
		`{"id":"` + somePeer:                                true,
		`/ip4/192.0.2.1/tcp/1/p2p/` + somePeer:              true,
		`{"node_id":"0x` + strings.Repeat("ab", 32) + `"}`:  true,
		`{"ip":"198.51.100.9"}`:                             true,
		`{"multiaddr":"/ip4/198.51.100.9/udp/9001/quic-v1"`: true,
		`udp/198.51.100.9:9001`:                             true,
		"\xff\xfe" + ` "198.51.100.9"`:                      true,
		`{"ip":"203.0.113.9","id":"16U"}`:                   false,
		`{"node_id":"0x` + strings.Repeat("ac", 32) + `"}`:  false,
		strings.Repeat("x", 1<<16):                          false,
		"":                                                  false,
	} {
		if got := x.Text([]byte(text), x.Peer); got != want {
			t.Errorf("%.80s: %v", text, got)
		}
	}
	if _, err := NewExclude("", []string{"0x12"}); err == nil || !strings.Contains(err.Error(), `"0x12"`) {
		t.Errorf("error %v", err)
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("/ip4/192.0.2.1/tcp/9000/p2p/" + somePeer)
	f.Add("/ip6/::1/udp/9001/quic-v1/p2p/" + somePeer)
	f.Fuzz(func(t *testing.T, text string) {
		if target, _, err := ParseTarget(text); err == nil && (!hasAddress(target) || target.PeerID == "") {
			t.Errorf("%+v", target)
		}
	})
}
