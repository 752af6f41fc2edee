package geo

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// The file of a table begins with magic and the length of its header (4 bytes, little
// endian), the header as JSON, and the sections one after the other, each a zstd frame.
const (
	magic      = "VALTRACK GEO 1\n"
	maxHeader  = 1 << 16
	maxSection = 64 << 20 // decompressed
	maxText    = 1 << 10
)

// Names of the sections.
const (
	sectionNetworks4 = "networks4" // ranges with ids of networks
	sectionNetworks6 = "networks6"
	sectionNetworks  = "networks"
	sectionPlaces4   = "places4" // ranges with ids of cities
	sectionPlaces6   = "places6" // ranges with ids of regions
	sectionCities    = "cities"
	sectionRegions   = "regions"
)

// Header is what a table's file says about itself.
type Header struct {
	// Notice is the text that the licences of the sources ask for.
	Notice string `json:"notice"`
	// Places and Networks say where the places and the autonomous systems are from.
	Places   Source    `json:"places"`
	Networks Source    `json:"networks"`
	Sections []section `json:"sections"`
}

// section is a part of the file. Bytes are those in the file, Raw those of its content.
type section struct {
	Name  string `json:"name"`
	Rows  int    `json:"rows"`
	Bytes int    `json:"bytes"`
	Raw   int    `json:"raw"`
}

// Source is where data are from.
type Source struct {
	Name    string    `json:"name"`
	Date    time.Time `json:"date"` // of the data
	License string    `json:"license,omitempty"`
	Link    string    `json:"link,omitempty"`
	Package string    `json:"package,omitempty"` // what the embedded table was made from
	File    string    `json:"file,omitempty"`    // a user's database
}

// String is the source's name with the date of the data.
func (s Source) String() string { return s.Name + " " + s.Date.UTC().Format(time.DateOnly) }

// table finds places and networks of addresses. A section is decompressed when an address
// first needs it.
type table struct {
	header               Header
	networks             func() (*networks, error)
	networks4, networks6 func() (*ranges[uint32], error)
	places4              func() (*ranges[uint32], error)
	places6              func() (*ranges[uint16], error)
	cities               func() (*cities, error)
	regions              func() ([]region, error)
}

// openTable reads the header.
func openTable(file []byte) (*table, error) {
	head, rest, err := readHeader(file)
	if err != nil {
		return nil, err
	}
	t := &table{header: head}
	sections := map[string]section{}
	packed := map[string][]byte{}
	for _, s := range head.Sections {
		if s.Bytes < 0 || s.Bytes > len(rest) || s.Raw < 0 || s.Raw > maxSection || s.Rows < 0 {
			return nil, fmt.Errorf("%w: %q has %d bytes, %d decompressed, and %d rows", errSection, s.Name, s.Bytes, s.Raw, s.Rows)
		}
		sections[s.Name], packed[s.Name] = s, rest[:s.Bytes]
		rest = rest[s.Bytes:]
	}
	read := func(name string) ([]byte, int, error) {
		raw, err := decompress(packed[name], sections[name].Raw)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %s: %w", errSection, name, err)
		}
		return raw, sections[name].Rows, nil
	}
	t.networks = lazily(read, sectionNetworks, decodeNetworks)
	t.regions = lazily(read, sectionRegions, decodeRegions)
	t.cities = lazily(read, sectionCities, func(data []byte, rows int) (*cities, error) {
		return decodeCities(data, rows, sections[sectionRegions].Rows)
	})
	t.networks4 = lazily(read, sectionNetworks4, rangesOf[uint32](false, sections[sectionNetworks].Rows))
	t.networks6 = lazily(read, sectionNetworks6, rangesOf[uint32](true, sections[sectionNetworks].Rows))
	t.places4 = lazily(read, sectionPlaces4, rangesOf[uint32](false, sections[sectionCities].Rows))
	t.places6 = lazily(read, sectionPlaces6, rangesOf[uint16](true, sections[sectionRegions].Rows))
	return t, nil
}

func readHeader(file []byte) (Header, []byte, error) {
	rest, ok := bytes.CutPrefix(file, []byte(magic))
	if !ok || len(rest) < 4 {
		return Header{}, nil, fmt.Errorf("not a table of places: it does not begin with %q", magic)
	}
	length := binary.LittleEndian.Uint32(rest)
	rest = rest[4:]
	if length > maxHeader || int(length) > len(rest) {
		return Header{}, nil, fmt.Errorf("a header of %d bytes, at most %d and the file's %d are possible", length, maxHeader, len(rest))
	}
	var head Header
	if err := json.Unmarshal(rest[:length], &head); err != nil {
		return Header{}, nil, fmt.Errorf("header: %w", err)
	}
	return head, rest[length:], nil
}

// lazily decodes a section once.
func lazily[T any](read func(string) ([]byte, int, error), name string, decode func([]byte, int) (T, error)) func() (T, error) {
	return sync.OnceValues(func() (none T, _ error) {
		raw, rows, err := read(name)
		if err != nil {
			return none, err
		}
		out, err := decode(raw, rows)
		if err != nil {
			return none, fmt.Errorf("%s: %w", name, err)
		}
		return out, nil
	})
}

func rangesOf[ID uint16 | uint32](is6 bool, dictionary int) func([]byte, int) (*ranges[ID], error) {
	return func(data []byte, rows int) (*ranges[ID], error) {
		r, err := decodeRanges[ID](data, rows, is6)
		if err != nil {
			return nil, err
		}
		return r, r.check(dictionary)
	}
}

// decompress is an error when the content does not have size bytes.
func decompress(packed []byte, size int) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(size, 1<<16))))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	raw, err := d.DecodeAll(packed, nil)
	if err == nil && len(raw) != size {
		err = fmt.Errorf("%d bytes instead of %d", len(raw), size)
	}
	return raw, err
}

// fill takes from the table what is not known yet about a globally reachable address.
func (t *table) fill(ip netip.Addr, p *Place) error {
	if !p.has(fieldASN) || !p.has(fieldOrganization) {
		var q Place
		if err := t.network(ip, &q); err != nil {
			return err
		}
		p.fill(&q, &t.header.Networks)
	}
	if p.has(fieldCountry) && p.has(fieldRegion) && p.has(fieldCity) && p.has(fieldCoordinates) {
		return nil
	}
	var q Place
	if err := t.place(ip, &q); err != nil {
		return err
	}
	p.fill(&q, &t.header.Places)
	return nil
}

func (t *table) network(ip netip.Addr, p *Place) error {
	family := t.networks4
	if ip.Is6() {
		family = t.networks6
	}
	r, err := family()
	if err != nil {
		return err
	}
	all, err := t.networks()
	if err != nil {
		return err
	}
	if id := r.id(ip); id > 0 {
		p.ASN, p.Organization = all.numbers[id-1], all.names.at(int(id-1))
	}
	return nil
}

func (t *table) place(ip netip.Addr, p *Place) error {
	all, err := t.regions()
	if err != nil {
		return err
	}
	if ip.Is6() {
		r, err := t.places6()
		if err != nil {
			return err
		}
		if id := r.id(ip); id > 0 {
			setRegion(p, &all[id-1])
		}
		return nil
	}
	r, err := t.places4()
	if err != nil {
		return err
	}
	c, err := t.cities()
	if err != nil {
		return err
	}
	if id := r.id(ip); id > 0 {
		i := id - 1
		setRegion(p, &all[c.regions[i]])
		p.City = c.names.at(int(i))
		p.Latitude, p.Longitude, p.Located = float64(c.latitude[i])/100, float64(c.longitude[i])/100, true
	}
	return nil
}

func setRegion(p *Place, r *region) { p.CountryCode, p.Country, p.Region = r.code, r.country, r.name }
