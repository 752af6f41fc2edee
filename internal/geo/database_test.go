package geo

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/chainbound/valtrack/internal/geo/hosting"
)

type (
	object = mmdbtype.Map
	text   = mmdbtype.String
)

const (
	ip4 = "85.10.200.1"
	ip6 = "2a01:4f8::1"
)

// build makes a database with a record for the networks of ip4 and ip6.
func build(t testing.TB, kind string, version int, record mmdbtype.DataType) []byte {
	t.Helper()
	return buildAt(t, kind, version, record, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
}

func buildAt(t testing.TB, kind string, version int, record mmdbtype.DataType, at time.Time) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, IPVersion: version, BuildEpoch: at.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	for _, cidr := range []string{"85.10.0.0/16", "2a01:4f8::/32"} {
		_, network, _ := net.ParseCIDR(cidr)
		if network.IP.To4() == nil && version == 4 {
			continue
		}
		if err := tree.Insert(network, record); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := tree.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// write puts a file in place and gives it an age, so that it is not taken for one that is
// being written.
func write(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func names(name string) object {
	return object{"names": object{"de": text("x" + name), "en": text(name)}}
}

// schemas are the ways in which databases write the same things.
var schemas = []struct {
	name    string
	version int
	record  mmdbtype.DataType
	want    Place
}{
	{"GeoLite2-City", 6, object{
		"country":            object{"iso_code": text("FI"), "names": object{"en": text("Finland")}},
		"registered_country": object{"iso_code": text("DE")},
		"subdivisions":       mmdbtype.Slice{names("Uusimaa"), names("Other")}, "city": names("Helsinki"),
		"location": object{"latitude": mmdbtype.Float64(60.1719), "longitude": mmdbtype.Float64(24.9347), "accuracy_radius": mmdbtype.Uint16(20)},
	}, Place{CountryCode: "FI", Country: "Finland", Region: "Uusimaa", City: "Helsinki", Latitude: 60.1719, Longitude: 24.9347, Located: true}},
	{"GeoLite2-ASN", 6, object{"autonomous_system_number": mmdbtype.Uint32(64500), "autonomous_system_organization": text("Example Net")},
		Place{ASN: 64500, Organization: "Example Net"}},
	{"GeoIP2-Enterprise", 6, object{
		"country": object{"iso_code": text("FI")},
		"traits":  object{"user_type": text("college"), "autonomous_system_number": mmdbtype.Uint32(64500), "autonomous_system_organization": text("Example U")},
	}, Place{CountryCode: "FI", Country: "Finland", ASN: 64500, Organization: "Example U", Hosting: "education"}},
	{"DBIP-City-Lite", 6, object{
		"continent": object{"code": text("EU")}, "country": object{"iso_code": text("FI"), "is_in_european_union": mmdbtype.Bool(true)},
		"subdivisions": mmdbtype.Slice{object{"names": object{"en": text("Uusimaa")}}}, "city": object{"names": object{"en": text("Helsinki (Kallio)")}},
		"location": object{"latitude": mmdbtype.Float64(60.1), "longitude": mmdbtype.Float64(-24.5)},
	}, Place{CountryCode: "FI", Country: "Finland", Region: "Uusimaa", City: "Helsinki (Kallio)", Latitude: 60.1, Longitude: -24.5, Located: true}},
	{"city ipv4", 4, object{
		"country_code": text("FI"), "state1": text("Uusimaa"), "state2": text(""), "city": text("Helsinki"), "postcode": text(""),
		"latitude": mmdbtype.Float32(60.1719), "longitude": mmdbtype.Float32(24.9347), "timezone": text(""),
	}, Place{CountryCode: "FI", Country: "Finland", Region: "Uusimaa", City: "Helsinki", Latitude: 60.1719, Longitude: 24.9347, Located: true}},
	{"country", 6, object{"country_code": text("FI")}, Place{CountryCode: "FI", Country: "Finland"}},
	{"ipinfo bundle_location_lite.mmdb", 6, object{
		"asn": text("AS64500"), "as_name": text("Example Net"), "as_domain": text("example.net"),
		"country": text("Finland"), "country_code": text("FI"), "continent": text("Europe"), "continent_code": text("EU"),
	}, Place{CountryCode: "FI", Country: "Finland", ASN: 64500, Organization: "Example Net"}},
	{"ipinfo plus", 6, object{
		"asn": text("AS64500"), "as_name": text("Example Net"), "as_type": text("isp"), "is_hosting": mmdbtype.Bool(true), "is_vpn": mmdbtype.Bool(false),
		"country": text("Finland"), "country_code": text("FI"), "region": text("Uusimaa"), "city": text("Helsinki"),
		"latitude": mmdbtype.Float64(60.17), "longitude": mmdbtype.Float64(24.93),
	}, Place{CountryCode: "FI", Country: "Finland", Region: "Uusimaa", City: "Helsinki", Latitude: 60.17, Longitude: 24.93, Located: true,
		ASN: 64500, Organization: "Example Net", Hosting: "hosting"}},
	{"ipinfo standard_location.mmdb", 6, object{
		"country": text("FI"), "region": text("Uusimaa"), "city": text("Helsinki"), "lat": text("60.17"), "lng": text("24.93"), "timezone": text("Europe/Helsinki"),
	}, Place{CountryCode: "FI", Country: "Finland", Region: "Uusimaa", City: "Helsinki", Latitude: 60.17, Longitude: 24.93, Located: true}},
	{"ipinfo standard_asn.mmdb", 6, object{"asn": text("AS64500"), "name": text("Example Net"), "domain": text("example.net"), "type": text("business"), "country": text("FI")},
		Place{CountryCode: "FI", Country: "Finland", ASN: 64500, Organization: "Example Net", Hosting: "business"}},
	{"ipinfo standard_privacy.mmdb", 6, object{"hosting": text("true"), "vpn": text(""), "tor": text("")}, Place{Hosting: "hosting"}},
	{"country names only", 6, object{"country": text("finland")}, Place{CountryCode: "FI", Country: "Finland"}},
	{"a country without a code", 6, object{"country": text("Atlantis")}, Place{Country: "Atlantis"}},
	{"numbers as text", 6, object{"asn": text("64500"), "city": text("A\x1b[31mB")}, Place{City: "A[31mB", ASN: 64500}},
}

func TestSchemas(t *testing.T) {
	for _, s := range schemas {
		t.Run(s.name, func(t *testing.T) {
			d, err := parseDatabase("f.mmdb", build(t, s.name, s.version, s.record))
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.lookup(netip.MustParseAddr(ip4))
			if err != nil || got != s.want {
				t.Errorf("%v\n got %+v\nwant %+v", err, got, s.want)
			}
			got6, err := d.lookup(netip.MustParseAddr(ip6))
			if want := s.want; s.version == 4 {
				want = Place{}
				if got6 != want || err != nil {
					t.Errorf("an IPv4 database said %+v, %v of an IPv6 address", got6, err)
				}
			} else if got6 != want || err != nil {
				t.Errorf("IPv6: %+v, %v", got6, err)
			}
			if d.source.String() != s.name+" 2026-11-24" {
				t.Errorf("source %s", d.source)
			}
		})
	}
}

// What cannot be used is refused, with the file and the field in the error.
func TestDatabasesThatAreRefused(t *testing.T) {
	whole := build(t, "GeoLite2-City", 6, schemas[0].record)
	for _, c := range []struct {
		name string
		data []byte
		want []string
	}{
		{"empty", nil, []string{"is empty"}},
		{"truncated", whole[:len(whole)/2], []string{"not a complete database"}},
		{"only its end", whole[len(whole)/2:], []string{"f.mmdb"}},
		{"another format", []byte("ip,country\n1.1.1.1,AU\n"), []string{"not a complete database"}},
		{"no records", build(t, "x", 6, nil), []string{"has no records"}},
		{"no field of ours", build(t, "GeoIP2-Domain", 6, object{"domain": text("example.net")}), []string{"GeoIP2-Domain", "its fields are domain"}},
		{"no type", build(t, "", 6, object{"city": text("x")}), []string{"database_type"}},
		{"latitude beyond the pole", build(t, "x", 6, object{"latitude": mmdbtype.Float64(91), "longitude": mmdbtype.Float64(0)}), []string{"field latitude", "91"}},
		{"coordinate that is no number", build(t, "x", 6, object{"lat": text("north"), "lng": text("1")}), []string{"field lat", "north"}},
		{"number too large", build(t, "x", 6, object{"asn": text("AS99999999999")}), []string{"field asn", "AS99999999999"}},
		{"name for a number", build(t, "x", 6, object{"autonomous_system_number": text("Example")}), []string{"field autonomous_system_number", "Example"}},
		{"number for a name", build(t, "x", 6, object{"city": mmdbtype.Uint32(7)}), []string{"field city", "7"}},
		{"record that is no map", build(t, "x", 6, text("FI")), []string{"record of"}},
	} {
		_, err := parseDatabase("f.mmdb", c.data)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range append(c.want, "f.mmdb") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q lacks %q", c.name, err, want)
			}
		}
	}
	if _, err := Open([]string{t.TempDir()}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Open([]string{"missing.mmdb"}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "missing.mmdb") {
		t.Errorf("a missing file: %v", err)
	}
}

// withTree is a database whose search tree is replaced: children gives those of a node out
// of n, which is also the child that means "no record".
func withTree(t testing.TB, children func(i, n uint) (left, right uint)) []byte {
	t.Helper()
	data := build(t, "x", 6, object{"city": text("x")})
	reader, err := maxminddb.OpenBytes(data)
	if err != nil || reader.Metadata.RecordSize != 28 {
		t.Fatalf("%+v, %v", reader.Metadata, err)
	}
	n := reader.Metadata.NodeCount
	for i := range n {
		left, right := children(i, n)
		copy(data[7*i:], []byte{byte(left >> 16), byte(left >> 8), byte(left), byte(left>>24<<4 | right>>24), byte(right >> 16), byte(right >> 8), byte(right)})
	}
	return data
}

// hostileTrees are search trees that are no trees.
var hostileTrees = map[string]func(i, n uint) (left, right uint){
	"nodes are shared": func(i, n uint) (uint, uint) {
		if i >= 60 {
			return n, n
		}
		return i + 1, i + 1
	},
	"the IPv4 part is shared": func(i, n uint) (uint, uint) { // and is what the iterator skips
		if i >= 96 {
			return n, n
		}
		return i + 1, i + 1
	},
	"a loop":                  func(uint, uint) (uint, uint) { return 0, 0 },
	"a loop beside no record": func(_, n uint) (uint, uint) { return n, 0 },
}

// A file whose nodes share children or lead back is refused at once, whatever the number of its paths.
func TestTreesThatAreNone(t *testing.T) {
	for name, children := range hostileTrees {
		if _, err := parseDatabase("f.mmdb", withTree(t, children)); err == nil || !strings.Contains(err.Error(), "f.mmdb: ") || !strings.Contains(err.Error(), "tree") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func openWith(t testing.TB, log *slog.Logger, paths ...string) *Locator {
	t.Helper()
	l, err := Open(paths, log)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// verdict is what decided about hosting when no database did.
var verdict = regexp.MustCompile(`; hosting: (table|rule:.*)$`)

var quiet = slog.New(slog.DiscardHandler)

// A user's database is believed before the embedded table, field by field, as long as
// both speak of the same place.
func TestFieldByField(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, record object) string {
		return write(t, filepath.Join(dir, name+".mmdb"), build(t, name, 6, record))
	}
	ip := netip.MustParseAddr(ip4)
	own := openEmbedded(t).lookup(ip)
	if own.CountryCode != "DE" || own.City == "" || own.ASN == 0 {
		t.Fatalf("the embedded table says %+v", own)
	}
	sources := openEmbedded(t).Sources()
	places, nets := sources[0].String(), sources[1].String()
	for _, c := range []struct {
		name  string
		files []string
		want  func(p *Place)
		from  string
	}{
		{"network only", []string{file("A", object{"asn": text("AS64500"), "as_name": text("Example")})},
			func(p *Place) { p.ASN, p.Organization = 64500, "Example" },
			"country, region, city, coordinates: " + places + "; asn, organization: A 2026-11-24"},
		{"network of another number without a name", []string{file("B", object{"asn": text("AS64500")})},
			func(p *Place) { p.ASN, p.Organization = 64500, "" },
			"country, region, city, coordinates: " + places + "; asn: B 2026-11-24"},
		{"the same country", []string{file("C", object{"country_code": text("DE")})},
			func(*Place) {},
			"country: C 2026-11-24; region, city, coordinates: " + places + "; asn, organization: " + nets},
		{"another country", []string{file("D", object{"country_code": text("FI")})},
			func(p *Place) {
				*p = Place{CountryCode: "FI", Country: "Finland", ASN: p.ASN, Organization: p.Organization}
			}, "country: D 2026-11-24; asn, organization: " + nets},
		{"another city", []string{file("E", object{"country_code": text("DE"), "city": text("Elsewhere")})},
			func(p *Place) {
				*p = Place{CountryCode: "DE", Country: "Germany", City: "Elsewhere", ASN: p.ASN, Organization: p.Organization}
			}, "country, city: E 2026-11-24; asn, organization: " + nets},
		{"coordinates without a city", []string{file("F", object{"country_code": text("DE"), "latitude": mmdbtype.Float64(50), "longitude": mmdbtype.Float64(9)})},
			func(p *Place) { p.City, p.Latitude, p.Longitude = "", 50, 9 },
			"country: F 2026-11-24; region: " + places + "; coordinates: F 2026-11-24; asn, organization: " + nets},
		{"type", []string{file("G", object{"as_type": text("business")})},
			func(p *Place) { p.Hosting = "business" },
			"country, region, city, coordinates: " + places + "; asn, organization: " + nets + "; hosting: G 2026-11-24"},
		{"two files", []string{file("H", object{"country_code": text("FI")}), file("I", object{"country_code": text("SE"), "asn": text("AS1")})},
			func(p *Place) {
				*p = Place{CountryCode: "FI", Country: "Finland", ASN: 1, Organization: p.Organization}
			},
			"country: H 2026-11-24; asn: I 2026-11-24"},
	} {
		want := own
		c.want(&want)
		if want.ASN == 1 {
			want.Organization = ""
		}
		got := openWith(t, quiet, c.files...).lookup(ip)
		if from := verdict.ReplaceAllString(got.describe(), ""); from != c.from {
			t.Errorf("%s: source\n got %s\nwant %s", c.name, from, c.from)
		}
		for _, p := range []*Place{&got, &want} {
			p.sources, p.verdict, p.Cloud = [fieldCount]*Source{}, "", ""
			if p.Hosting != hosting.Business { // of the network
				p.Hosting = ""
			}
		}
		if got != want {
			t.Errorf("%s\n got %+v\nwant %+v", c.name, got, want)
		}
	}
}

// logged collects what is logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A database is loaded again when its file is renamed into place or written in place.
// While the file cannot be read, the database of before is used.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.mmdb")
	city := func(name string) []byte { return build(t, "x", 6, object{"city": text(name)}) }
	write(t, path, city("One"))
	log := &logged{}
	l := openWith(t, slog.New(slog.NewTextHandler(log, nil)), path)
	now := time.Now()
	expect := func(what, city, inLog string) {
		t.Helper()
		now = now.Add(time.Minute)
		l.reload(now)
		if got := l.lookup(netip.MustParseAddr(ip4)); got.City != city {
			t.Errorf("%s: city %q, want %q", what, got.City, city)
		}
		if !strings.Contains(log.String(), inLog) {
			t.Errorf("%s: the log lacks %q:\n%s", what, inLog, log)
		}
	}
	expect("unchanged", "One", "")
	version := l.Version()

	write(t, path+".new", city("Two"))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	expect("renamed", "Two", "reloaded a place database")
	if l.Version() == version {
		t.Error("the version is the same")
	}

	write(t, path, city("Three, in place"))
	l.reload(time.Now())
	if got := l.lookup(netip.MustParseAddr(ip4)).City; got != "Two" {
		t.Errorf("read a file that was written just now: %q", got)
	}
	expect("in place", "Three, in place", "")

	whole := city("Four")
	write(t, path, whole[:len(whole)-20])
	expect("truncated", "Three, in place", "not a complete database")
	lines := strings.Count(log.String(), "\n")
	expect("truncated, later", "Three, in place", "")
	if strings.Count(log.String(), "\n") != lines {
		t.Errorf("the same file is logged twice:\n%s", log)
	}
	write(t, path, nil)
	expect("emptied", "Three, in place", "is empty")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("removed", "Three, in place", "its data stays in use")
	write(t, path, whole)
	expect("back", "Four", "")
}

// Lookups go on while a file is replaced again and again.
func TestReloadWhileLookingUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.mmdb")
	a, b := build(t, "x", 6, object{"city": text("A")}), build(t, "x", 6, object{"city": text("B")})
	write(t, path, a)
	l := openWith(t, quiet, path)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if city := l.lookup(netip.MustParseAddr(ip4)).City; city != "A" && city != "B" {
					t.Errorf("city %q", city)
				}
			}
		})
	}
	for i := range 100 {
		write(t, path, [][]byte{a, b, a[:len(a)/2]}[i%3])
		l.reload(time.Now().Add(time.Hour))
	}
	cancel()
	wg.Wait()
}

func TestRunEnds(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "f.mmdb"), build(t, "x", 6, object{"city": text("A")}))
	for _, paths := range [][]string{nil, {path}} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := openWith(t, quiet, paths...).Run(ctx); err != nil {
			t.Error(err)
		}
	}
}

// The log says at the start that data are older than a year.
func TestOldDataAreLogged(t *testing.T) {
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Old-City", BuildEpoch: time.Now().Add(-400 * 24 * time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	_, network, _ := net.ParseCIDR("85.10.0.0/16")
	if err := tree.Insert(network, object{"city": text("x")}); err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	tree.WriteTo(&data)
	log := &logged{}
	openWith(t, slog.New(slog.NewTextHandler(log, nil)), write(t, filepath.Join(t.TempDir(), "f.mmdb"), data.Bytes()))
	if !strings.Contains(log.String(), "Old-City") || !strings.Contains(log.String(), "days=400") {
		t.Errorf("log: %s", log)
	}
}

// Whatever a file has, it is refused or read: no lookup panics, and names are bounded.
func FuzzDatabase(f *testing.F) {
	for _, s := range schemas {
		f.Add(build(f, s.name, s.version, s.record))
	}
	for _, children := range hostileTrees {
		f.Add(withTree(f, children))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseDatabase("f.mmdb", data)
		if err != nil {
			return
		}
		for _, ip := range []string{ip4, ip6, "0.0.0.0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
			p, _ := d.lookup(netip.MustParseAddr(ip))
			for _, name := range []string{p.CountryCode, p.Country, p.Region, p.City, p.Organization} {
				if len(name) > 4*maxText {
					t.Errorf("%d bytes", len(name))
				}
			}
		}
	})
}

// Find remembers what it found until a database is loaded, and says where it is from.
func TestFind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.mmdb")
	write(t, path, build(t, "x", 6, object{"city": text("One")}))
	l := openWith(t, quiet, path)
	ip := netip.MustParseAddr(ip4)
	first := l.Find(ip)
	if first == nil || first.City != "One" || !strings.HasPrefix(first.Source, "city: x 2026-11-24; asn, organization: ") || l.Find(ip) != first {
		t.Errorf("found %+v", first)
	}
	write(t, path, build(t, "x", 6, object{"city": text("Two, longer")}))
	l.reload(time.Now().Add(time.Minute))
	if again := l.Find(ip); again.City != "Two, longer" {
		t.Errorf("after a reload: %+v", again)
	}
	if p := l.Find(netip.MustParseAddr("10.0.0.1")); p != nil {
		t.Errorf("a private address: %+v", p)
	}
	// Addresses of one place share it.
	if a, b := l.Find(netip.MustParseAddr("8.8.8.8")), l.Find(netip.MustParseAddr("8.8.8.9")); a == nil || a != b {
		t.Errorf("%p %+v, %p %+v", a, a, b, b)
	}
	// The cache is bounded.
	for i := range maxCached + 10 {
		l.Find(addressAt(uint64(i)+0x01000000, false))
	}
	if n := len(l.found.places); n > maxCached {
		t.Errorf("%d addresses are remembered", n)
	}
}

// The network decides about hosting, unless a database of the user does.
func TestHosting(t *testing.T) {
	ip := netip.MustParseAddr(ip4) // Hetzner
	p := openEmbedded(t).Find(ip)
	if p.Hosting != hosting.Hosting || p.Cloud != "hetzner" || !strings.HasSuffix(p.Source, "; hosting: table") {
		t.Errorf("%+v, from %s", p, p.Source)
	}
	path := write(t, filepath.Join(t.TempDir(), "f.mmdb"), build(t, "x", 6, object{"as_type": text("isp")}))
	p = openWith(t, quiet, path).Find(ip)
	if p.Hosting != hosting.ISP || p.Cloud != "hetzner" || !strings.HasSuffix(p.Source, "; hosting: x 2026-11-24") {
		t.Errorf("%+v, from %s", p, p.Source)
	}
}
