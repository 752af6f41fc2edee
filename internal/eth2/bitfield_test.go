package eth2_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

func TestAttnets(t *testing.T) {
	for _, tt := range []struct {
		text    string
		subnets []int
	}{
		{"0x0000000000000000", []int{}},
		{"0x0100000000000080", []int{0, 63}},
		{"0x0018000000000000", []int{11, 12}},
	} {
		var a eth2.Attnets
		if err := a.UnmarshalText([]byte(tt.text)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.subnets, a.Subnets()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
		if a.Count() != len(tt.subnets) || a.String() != tt.text || eth2.NewAttnets(tt.subnets) != a {
			t.Errorf("%s: count %d, text %s, again %s", tt.text, a.Count(), a, eth2.NewAttnets(tt.subnets))
		}
	}
	all := eth2.Attnets{255, 255, 255, 255, 255, 255, 255, 255}
	for i := range eth2.AttestationSubnetCount {
		if !all.Has(i) {
			t.Errorf("all subnets: %d is not set", i)
		}
	}
	for _, i := range []int{-1, 64, 1 << 40} {
		if all.Has(i) || eth2.NewAttnets([]int{i}) != (eth2.Attnets{}) {
			t.Errorf("subnet %d does not exist, but is set", i)
		}
	}
}

func TestSyncnets(t *testing.T) {
	if diff := cmp.Diff([]int{0, 3}, eth2.Syncnets(0xf9).Subnets()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{}, eth2.Syncnets(0).Subnets()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHexText(t *testing.T) {
	var d eth2.ForkDigest
	for _, text := range []string{"0x8c9f62fe", "8c9f62fe", "0x8C9F62FE"} {
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != "0x8c9f62fe" {
			t.Errorf("%s: %s, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "0x", "0x8c9f62", "0x8c9f62fe00", "0x8c9f62fg", "zzzzzzzz"} {
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %s, want an error", text, d)
		}
	}
}
