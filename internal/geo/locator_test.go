package geo

import (
	"bufio"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/geo/hosting"
)

func openEmbedded(t testing.TB) *Locator {
	t.Helper()
	l, err := Open(nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// addresses reads a file of one address per line.
func addresses(t testing.TB, path string) (out []netip.Addr) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		out = append(out, netip.MustParseAddr(s.Text()))
	}
	return out
}

func TestPeersHaveAPlaceAndANetwork(t *testing.T) {
	l := openEmbedded(t)
	peers := addresses(t, "testdata/peers.txt")
	if len(peers) < 100 {
		t.Fatalf("%d addresses", len(peers))
	}
	sources := l.Sources()
	want := "country, region, city, coordinates: " + sources[0].String() + "; asn, organization: " + sources[1].String()
	kinds := map[hosting.Type]int{}
	for _, ip := range peers {
		p := l.lookup(ip)
		if len(p.CountryCode) != 2 || p.Country == "" || p.ASN == 0 || p.Organization == "" || p.City == "" || !p.Located {
			t.Errorf("%v: %+v", ip, p)
		}
		p.classify()
		if got, _, _ := strings.Cut(p.describe(), "; hosting: "); p.Region != "" && got != want {
			t.Errorf("%v: source %q, want %q", ip, got, want)
		}
		kinds[p.Hosting]++
	}
	if kinds[""] > 0 || kinds[hosting.Hosting] < 30 || kinds[hosting.ISP] < 20 {
		t.Errorf("kinds of hosting: %v", kinds)
	}
}

// Well-known addresses, in all the ways in which they are written.
func TestLookup(t *testing.T) {
	l := openEmbedded(t)
	for _, c := range []struct {
		ip, country string
		asn         uint32
		city        bool
	}{
		{"1.1.1.1", "AU", 13335, true},
		{"8.8.8.8", "US", 15169, true},
		{"::ffff:8.8.8.8", "US", 15169, true},
		{"2002:808:808::1", "US", 15169, true},
		{"64:ff9b::808:808", "US", 15169, true},
		{"2606:4700:4700::1111", "CA", 13335, false},
		{"2a01:4f8::1", "DE", 24940, false},
	} {
		p := l.lookup(netip.MustParseAddr(c.ip))
		if p.CountryCode != c.country || p.ASN != c.asn || (p.City != "") != c.city || p.Located != c.city {
			t.Errorf("%s: %+v, want %s and AS%d", c.ip, p, c.country, c.asn)
		}
	}
	for _, ip := range []string{"127.0.0.1", "10.1.2.3", "192.168.1.1", "100.64.0.1", "169.254.1.1", "192.0.2.1", "224.0.0.1", "255.255.255.255", "0.0.0.0",
		"::", "::1", "fe80::1%eth0", "fc00::1", "2001:db8::1", "ff02::1", "::ffff:127.0.0.1", "2002:a00:1::1"} {
		if p := l.lookup(netip.MustParseAddr(ip)); p.known() || p.describe() != "" {
			t.Errorf("%s: %+v", ip, p)
		}
	}
	if p := l.lookup(netip.Addr{}); p.known() {
		t.Errorf("no address: %+v", p)
	}
}

func TestEmbeddedTableSaysWhereItIsFrom(t *testing.T) {
	l := openEmbedded(t)
	if got := l.Sources(); len(got) != 2 || got[0].Date.Before(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) || got[1].Date.Before(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("sources %v", got)
	}
	for _, want := range []string{"IP Geolocation by DB-IP", "https://db-ip.com", "CC BY 4.0", "https://www.routeviews.org", "https://www.nro.net"} {
		if notice := l.table.header.Notice; !strings.Contains(notice, want) {
			t.Errorf("the notice lacks %q: %s", want, notice)
		}
	}
	if len(embedded) > 14_000_000 {
		t.Errorf("the table has %d bytes", len(embedded))
	}
}

// Every section can be decoded, and every country has a name.
func TestEmbeddedTableIsWhole(t *testing.T) {
	table := openEmbedded(t).table
	_, err1 := table.networks4()
	_, err2 := table.networks6()
	_, err3 := table.places4()
	_, err4 := table.places6()
	_, err5 := table.cities()
	regions, err6 := table.regions()
	for _, err := range []error{err1, err2, err3, err4, err5, err6} {
		if err != nil {
			t.Error(err)
		}
	}
	for _, r := range regions {
		if r.code != "" && r.country == "" {
			t.Errorf("no name for country %q", r.code)
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	l := openEmbedded(t)
	peers := append(addresses(t, "testdata/peers.txt"), netip.MustParseAddr("2a01:4f8::1"))
	l.lookup(peers[0])
	l.lookup(peers[len(peers)-1])
	if n := testing.AllocsPerRun(10, func() {
		for _, ip := range peers {
			l.lookup(ip)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMemoryOfTheEmbeddedTable(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	l := openEmbedded(t)
	for _, ip := range []string{"8.8.8.8", "2a01:4f8::1"} {
		if p := l.lookup(netip.MustParseAddr(ip)); p.ASN == 0 {
			t.Fatalf("%+v", p)
		}
	}
	if used := heap() - before; used > 60<<20 {
		t.Errorf("decoded: %d bytes", used)
	}
	runtime.KeepAlive(l)
}

func BenchmarkLookup(b *testing.B) {
	l := openEmbedded(b)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, is6 := range []bool{false, true} {
		ips := make([]netip.Addr, 1<<16)
		for i := range ips {
			ips[i] = addressAt(uint64(rnd.Uint32N(0xdf000000)+0x01000000), false)
			if is6 {
				ips[i] = addressAt(0x2000<<48+rnd.Uint64N(0x1000<<48), true)
			}
		}
		b.Run(map[bool]string{false: "v4", true: "v6"}[is6], func(b *testing.B) {
			l.lookup(ips[0])
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				l.lookup(ips[i%len(ips)])
			}
		})
	}
}

func BenchmarkFind(b *testing.B) {
	l := openEmbedded(b)
	peers := addresses(b, "testdata/peers.txt")
	l.Find(peers[0])
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		l.Find(peers[i%len(peers)])
	}
}

func BenchmarkFirstUse(b *testing.B) {
	for range b.N {
		l := openEmbedded(b)
		l.lookup(netip.MustParseAddr("8.8.8.8"))
		l.lookup(netip.MustParseAddr("2a01:4f8::1"))
	}
}
