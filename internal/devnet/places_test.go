package devnet

import (
	"encoding/csv"
	"net/netip"
	"strings"
	"testing"
)

func TestStandInsAreSpreadAsTheirWeights(t *testing.T) {
	const nodes = 20_000
	list := places()
	found := make([]int, len(list))
	ip := netip.MustParseAddr("127.0.0.2")
	for range nodes {
		standIn, ok := StandIn(ip)
		if again, _ := StandIn(netip.AddrFrom16(ip.As16())); !ok || again != standIn {
			t.Fatalf("%s has the stand-ins %s and %s", ip, standIn, again)
		}
		in := 0
		for i, p := range list {
			if p.prefix.Contains(standIn) {
				found[i]++
				in++
			}
		}
		if in != 1 {
			t.Fatalf("%s stands in for %s: in %d prefixes of places.csv, want 1", standIn, ip, in)
		}
		ip = nextHost(ip)
	}
	total := float64(list[len(list)-1].upTo)
	before := uint32(0)
	for i, p := range list {
		want := nodes * float64(p.upTo-before) / total
		before = p.upTo
		if got := float64(found[i]); got < 0.5*want-10 || got > 1.5*want+10 {
			t.Errorf("%s stands in for %v of %d nodes, want about %.0f", p.prefix, got, nodes, want)
		}
	}
}

func TestOnlyTheDevnetsAddressesHaveStandIns(t *testing.T) {
	for _, text := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "192.0.2.1", "2001:db8::1", "fe80::1%eth0"} {
		if standIn, ok := StandIn(netip.MustParseAddr(text)); ok {
			t.Errorf("%s has the stand-in %s", text, standIn)
		}
	}
	if standIn, ok := StandIn(netip.Addr{}); ok {
		t.Errorf("no address has the stand-in %s", standIn)
	}
}

// The file is read at the first use, so that a mistake in it has to fail here.
func TestPlacesFile(t *testing.T) {
	lines, err := csv.NewReader(strings.NewReader(placesFile)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range places() {
		if line := lines[i+1]; p.prefix != p.prefix.Masked() || !p.prefix.Addr().Is4() || line[1] == "0" || line[2] == "" {
			t.Errorf("%v: want an IPv4 prefix without host bits, a weight and a name", line)
		}
		for _, q := range places()[:i] {
			if p.prefix.Overlaps(q.prefix) {
				t.Errorf("%s and %s overlap", p.prefix, q.prefix)
			}
		}
	}
}
