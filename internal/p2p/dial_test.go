package p2p

import (
	"net/netip"
	"testing"
)

// Only what IANA calls globally reachable is dialled (enr.GloballyReachable).
func TestDialable(t *testing.T) {
	for _, tt := range []struct {
		at                   string
		public, allowPrivate bool
	}{
		{"8.8.8.8:9000", true, true},
		{"[2a01:4f8::1]:9000", true, true},
		{"8.8.8.8:0", false, false},
		{"10.0.0.1:9000", false, true},
		{"127.0.0.1:9000", false, true},
		{"100.64.0.1:9000", false, true},
		{"198.18.0.1:9000", false, true},
		{"192.0.2.1:9000", false, true},
		{"[2002:0a00:0001::1]:9000", false, true},
		{"[64:ff9b::10.0.0.1]:9000", false, true},
		{"[fe80::1%eth0]:9000", false, false},
		{"240.0.0.1:9000", false, false},
		{"224.0.0.1:9000", false, false},
		{"0.0.0.0:9000", false, false},
	} {
		at := netip.MustParseAddrPort(tt.at)
		if got := (&Host{}).dialable(at); got != tt.public {
			t.Errorf("%s may be dialled: %v, want %v", at, got, tt.public)
		}
		if got := (&Host{cfg: Config{AllowPrivate: true}}).dialable(at); got != tt.allowPrivate {
			t.Errorf("%s may be dialled when private ones may be: %v, want %v", at, got, tt.allowPrivate)
		}
	}
}
