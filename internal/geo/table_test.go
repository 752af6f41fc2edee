package geo

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// randomTable is a table of random ranges, and what they are.
func randomTable(t testing.TB, rnd *rand.Rand) (file []byte, truth []truthRange) {
	t.Helper()
	var b Builder
	for _, family := range []int{4, 6} {
		at := netip.MustParseAddr("1.0.0.0")
		if family == 6 {
			at = netip.MustParseAddr("2001:200::")
		}
		for range 200 {
			size := uint64(1) << rnd.IntN(20)
			if family == 6 {
				size <<= rnd.IntN(30)
			}
			first := at
			next := advance(at, size)
			at = next
			if rnd.IntN(4) == 0 {
				continue // a gap
			}
			n := rnd.IntN(30)
			r := truthRange{first: first, next: next, place: Place{
				CountryCode: []string{"DE", "FR", "US"}[n%3], Region: fmt.Sprint("region ", n%7), ASN: uint32(n) * 1e6, Organization: fmt.Sprint("network ", n),
			}}
			r.place.Country = CountryName(r.place.CountryCode)
			if family == 4 {
				r.place.City, r.place.Latitude, r.place.Longitude, r.place.Located = fmt.Sprint("city ", n), float64(n-20), float64(n*12-180), true
			}
			if r.place.ASN == 0 {
				r.place.Organization = ""
			}
			last := first
			if size > 1 || family == 6 {
				last = before(next)
			}
			if r.place.ASN != 0 {
				b.Network(first, last, r.place.ASN, r.place.Organization)
			}
			b.Place(first, last, r.place.CountryCode, r.place.Region, fmt.Sprint("city ", n), float64(n-20), float64(n*12-180))
			truth = append(truth, r)
		}
	}
	file, err := b.Encode(Header{Places: Source{Name: "places"}, Networks: Source{Name: "networks"}})
	if err != nil {
		t.Fatal(err)
	}
	return file, truth
}

type truthRange struct {
	first, next netip.Addr
	place       Place
}

// advance adds to an IPv4 address, or to the first half of an IPv6 one.
func advance(ip netip.Addr, n uint64) netip.Addr { return addressAt(position(ip)+n, ip.Is6()) }

func before(ip netip.Addr) netip.Addr { return ip.Prev() }

func addressAt(pos uint64, is6 bool) netip.Addr {
	var b [16]byte
	if !is6 {
		return netip.AddrFrom4([4]byte{byte(pos >> 24), byte(pos >> 16), byte(pos >> 8), byte(pos)})
	}
	for i := range 8 {
		b[i] = byte(pos >> (56 - 8*i))
	}
	return netip.AddrFrom16(b)
}

// What is in a table is found at the first and the last address of each range and at a
// random one, and nothing in the gaps.
func TestTableFindsWhatWasEncoded(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		file, truth := randomTable(t, rnd)
		table, err := openTable(file)
		if err != nil {
			t.Fatal(err)
		}
		find := func(ip netip.Addr) Place {
			var p Place
			if err := table.fill(ip, &p); err != nil {
				t.Fatal(err)
			}
			p.sources = [fieldCount]*Source{}
			return p
		}
		for i, r := range truth {
			size := position(r.next) - position(r.first)
			for _, ip := range []netip.Addr{r.first, r.next.Prev(), advance(r.first, rnd.Uint64N(size))} {
				if got := find(ip); got != r.place {
					t.Fatalf("seed %d: %v is %+v, want %+v", seed, ip, got, r.place)
				}
			}
			if i+1 < len(truth) && truth[i+1].first != r.next && truth[i+1].first.Is4() == r.next.Is4() {
				if got := find(r.next); got != (Place{}) {
					t.Fatalf("seed %d: %v in a gap is %+v", seed, r.next, got)
				}
			}
		}
	}
}

// decodeAll decodes every section of a table, and reports the first error.
func decodeAll(file []byte) error {
	table, err := openTable(file)
	if err != nil {
		return err
	}
	for _, ip := range []string{"0.0.0.0", "1.2.3.4", "255.255.255.255", "::", "2001:200::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
		if err := table.fill(netip.MustParseAddr(ip), &Place{}); err != nil {
			return err
		}
	}
	return nil
}

// A table that is cut or changed is an error, or has other data; it never panics.
func TestDamagedTable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	file, _ := randomTable(t, rnd)
	if err := decodeAll(file); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, len(magic), len(magic) + 3, len(magic) + 4, len(magic) + 100, len(file) / 2, len(file) - 1} {
		if err := decodeAll(file[:n]); err == nil {
			t.Errorf("no error for the first %d bytes of %d", n, len(file))
		}
	}
	refused := 0
	for range 1000 {
		damaged := append([]byte(nil), file...)
		damaged[rnd.IntN(len(damaged))] ^= 1 << rnd.IntN(8)
		if decodeAll(damaged) != nil {
			refused++
		}
	}
	if refused < 500 {
		t.Errorf("%d of 1000 damaged tables were refused", refused)
	}
}

// FuzzHeader does not decompress: that keeps the fuzzer busy with the paths of a library.
func FuzzHeader(f *testing.F) {
	file, _ := randomTable(f, rand.New(rand.NewPCG(1, 2)))
	f.Add(file[:len(magic)+1200])
	f.Fuzz(func(_ *testing.T, file []byte) { openTable(file) })
}

// FuzzSections reads what the sections have when they are decompressed.
func FuzzSections(f *testing.F) {
	f.Add([]byte{1, 2, 3, 1, 1, 1}, uint16(3))
	f.Fuzz(func(_ *testing.T, data []byte, rows uint16) {
		for _, is6 := range []bool{false, true} {
			if r, err := decodeRanges[uint32](data, int(rows), is6); err == nil {
				r.id(netip.AddrFrom4([4]byte{1, 2, 3, 4}))
			}
		}
		if r, err := decodeRegions(data, int(rows)); err == nil && len(r) != int(rows) {
			panic("regions")
		}
		if c, err := decodeCities(data, int(rows), 7); err == nil {
			for i := range int(rows) {
				_ = c.names.at(i)
			}
		}
		if n, err := decodeNetworks(data, int(rows)); err == nil {
			for i := range int(rows) {
				_ = n.names.at(i)
			}
		}
	})
}
