package geo

import (
	"encoding/binary"
	"fmt"
)

// texts are strings one after the other in one.
type texts struct {
	all  string
	ends []uint32
}

func (t *texts) at(i int) string {
	from := uint32(0)
	if i > 0 {
		from = t.ends[i-1]
	}
	return t.all[from:t.ends[i]]
}

// networks are the autonomous systems by id, of which the first is 1.
type networks struct {
	numbers []uint32
	names   texts
}

// region is a part of a country. The names may be empty.
type region struct{ code, country, name string }

// cities are the places of IPv4 by id, of which the first is 1. Coordinates are those of
// most addresses of the city, in hundredths of a degree.
type cities struct {
	names     texts
	regions   []uint16 // of each city, its index in the regions
	latitude  []int16
	longitude []int16
}

// fields reads the columns of a dictionary. After an error it reads zeros.
type fields struct {
	data []byte
	err  error
}

func (f *fields) fail(what string) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %s", errSection, what)
	}
	f.data = nil
}

func (f *fields) uint(limit uint64) uint64 {
	v, n := binary.Uvarint(f.data)
	if n <= 0 || v > limit {
		f.fail("number")
		return 0
	}
	f.data = f.data[n:]
	return v
}

func (f *fields) hundredths(limit int64) int16 {
	v, n := binary.Varint(f.data)
	if n <= 0 || v < -limit || v > limit {
		f.fail("coordinate")
		return 0
	}
	f.data = f.data[n:]
	return int16(v)
}

// texts reads the lengths of n strings, and then the strings.
func (f *fields) texts(n int) texts {
	t := texts{ends: make([]uint32, n)}
	end := uint64(0)
	for i := range t.ends {
		end += f.uint(maxText)
		t.ends[i] = uint32(end)
	}
	if end > uint64(len(f.data)) {
		f.fail("text")
		t.ends, end = nil, 0
	}
	t.all, f.data = string(f.data[:end]), f.data[end:]
	return t
}

func (f *fields) done() error {
	if f.err == nil && len(f.data) > 0 {
		f.fail("bytes too many")
	}
	return f.err
}

// dictionary checks that a dictionary may have so many rows.
func dictionary(data []byte, rows int) (*fields, error) {
	if rows > len(data) {
		return nil, fmt.Errorf("%w: %d rows in %d bytes", errSection, rows, len(data))
	}
	return &fields{data: data}, nil
}

func decodeNetworks(data []byte, rows int) (*networks, error) {
	f, err := dictionary(data, rows)
	if err != nil {
		return nil, err
	}
	n := &networks{numbers: make([]uint32, rows)}
	for i := range n.numbers {
		n.numbers[i] = uint32(f.uint(1<<32 - 1))
	}
	n.names = f.texts(rows)
	return n, f.done()
}

func decodeRegions(data []byte, rows int) ([]region, error) {
	f, err := dictionary(data, rows)
	if err != nil {
		return nil, err
	}
	codes, names := f.texts(rows), f.texts(rows)
	if err := f.done(); err != nil {
		return nil, err
	}
	out := make([]region, rows)
	for i := range out {
		code := codes.at(i)
		out[i] = region{code, CountryName(code), names.at(i)}
	}
	return out, nil
}

// decodeCities reads the cities in so many regions.
func decodeCities(data []byte, rows, regions int) (*cities, error) {
	f, err := dictionary(data, rows)
	if err != nil {
		return nil, err
	}
	c := &cities{regions: make([]uint16, rows), latitude: make([]int16, rows), longitude: make([]int16, rows)}
	for i := range rows {
		c.regions[i] = uint16(f.uint(uint64(max(regions, 1) - 1)))
	}
	for i := range rows {
		c.latitude[i] = f.hundredths(90_00)
	}
	for i := range rows {
		c.longitude[i] = f.hundredths(180_00)
	}
	c.names = f.texts(rows)
	return c, f.done()
}
