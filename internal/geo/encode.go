package geo

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Builder makes the file of a table. Ranges are added in ascending order, by family.
type Builder struct {
	networks4, networks6, places4, places6 rangeBuilder
	networks                               ids[network]
	cities                                 ids[city]
	regions                                ids[regionKey]
	locations                              map[city]map[location]uint64 // how many addresses are where
}

type network struct {
	number uint32
	name   string
}

type regionKey struct{ code, name string }

type city struct {
	region regionKey
	name   string
}

type location struct{ latitude, longitude int16 }

// ids numbers values from 1 in the order of their first use.
type ids[T comparable] struct {
	of   map[T]uint32
	list []T
}

func (s *ids[T]) id(v T) uint32 {
	if s.of == nil {
		s.of = map[T]uint32{}
	}
	id, ok := s.of[v]
	if !ok {
		s.list = append(s.list, v)
		id = uint32(len(s.list))
		s.of[v] = id
	}
	return id
}

// byUse renumbers the values, the most frequent in uses first, and returns the new id of
// each old one: small numbers take less space.
func (s *ids[T]) byUse(uses ...[]uint32) []uint32 {
	count := make([]int, len(s.list)+1)
	for _, u := range uses {
		for _, id := range u {
			count[id]++
		}
	}
	order := make([]uint32, len(s.list))
	for i := range order {
		order[i] = uint32(i + 1)
	}
	slices.SortStableFunc(order, func(a, b uint32) int { return cmp.Compare(count[b], count[a]) })
	renumbered, list := make([]uint32, len(s.list)+1), make([]T, len(s.list))
	for i, old := range order {
		renumbered[old], list[i] = uint32(i+1), s.list[old-1]
		s.of[list[i]] = uint32(i + 1)
	}
	s.list = list
	return renumbered
}

// rangeBuilder collects the first position of each range with its id; 0 is a gap.
type rangeBuilder struct {
	starts []uint64
	ids    []uint32
	next   uint64 // the position after the last range
}

// add ignores positions that a range before has: those of IPv6 ranges below a /64.
func (b *rangeBuilder) add(first, last uint64, id uint32) {
	first = max(first, b.next)
	if last < first {
		return
	}
	if first > b.next {
		b.begin(b.next, 0)
	}
	b.begin(first, id)
	b.next = last + 1
}

func (b *rangeBuilder) begin(start uint64, id uint32) {
	if n := len(b.ids); n > 0 && b.ids[n-1] == id {
		return
	}
	b.starts, b.ids = append(b.starts, start), append(b.ids, id)
}

func (b *rangeBuilder) renumber(renumbered []uint32) {
	for i, id := range b.ids {
		b.ids[i] = renumbered[id]
	}
}

func (b *rangeBuilder) encode(end uint64) []byte {
	if b.next < end {
		b.begin(b.next, 0)
	}
	var out []byte
	at := uint64(0)
	for _, s := range b.starts {
		out, at = binary.AppendUvarint(out, s-at), s
	}
	for _, id := range b.ids {
		out = binary.AppendUvarint(out, uint64(id))
	}
	return out
}

// Network adds a range of addresses of an autonomous system.
func (b *Builder) Network(first, last netip.Addr, number uint32, name string) {
	family := &b.networks4
	if first.Is6() {
		family = &b.networks6
	}
	family.add(position(first), position(last), b.networks.id(network{number, clip(name)}))
}

// Place adds a range of addresses of a city; of IPv6 the table has only the region.
// Coordinates are in degrees.
func (b *Builder) Place(first, last netip.Addr, code, regionName, cityName string, latitude, longitude float64) {
	key := regionKey{code, clip(regionName)}
	if first.Is6() {
		b.places6.add(position(first), position(last), b.regions.id(key))
		return
	}
	b.regions.id(key)
	c := city{key, clip(cityName)}
	b.places4.add(position(first), position(last), b.cities.id(c))
	if b.locations == nil {
		b.locations = map[city]map[location]uint64{}
	}
	if b.locations[c] == nil {
		b.locations[c] = map[location]uint64{}
	}
	at := location{int16(math.Round(latitude * 100)), int16(math.Round(longitude * 100))}
	b.locations[c][at] += position(last) - position(first) + 1
}

func clip(name string) string { return name[:min(len(name), maxText)] }

// location is where most of a city's addresses are.
func (b *Builder) location(c city) (best location) {
	most := uint64(0)
	for at, n := range b.locations[c] {
		if n > most || n == most && (at.latitude < best.latitude || at.latitude == best.latitude && at.longitude < best.longitude) {
			best, most = at, n
		}
	}
	return best
}

// Encode gives the file. The header's sections are set.
func (b *Builder) Encode(head Header) ([]byte, error) {
	renumbered := b.networks.byUse(b.networks4.ids, b.networks6.ids)
	b.networks4.renumber(renumbered)
	b.networks6.renumber(renumbered)
	b.places4.renumber(b.cities.byUse(b.places4.ids))
	b.places6.renumber(b.regions.byUse(b.places6.ids))
	if len(b.regions.list) > math.MaxUint16 {
		return nil, fmt.Errorf("%d regions, at most %d are possible", len(b.regions.list), math.MaxUint16)
	}
	const end4, end6 = 1 << 32, math.MaxUint64
	n4, n6, p4, p6 := b.networks4.encode(end4), b.networks6.encode(end6), b.places4.encode(end4), b.places6.encode(end6)
	head.Sections = nil
	var body []byte
	compressor, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(zstd.MaxWindowSize>>6), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	for _, s := range []struct {
		name string
		rows int
		data []byte
	}{
		{sectionNetworks, len(b.networks.list), b.encodeNetworks()},
		{sectionRegions, len(b.regions.list), b.encodeRegions()},
		{sectionCities, len(b.cities.list), b.encodeCities()},
		{sectionNetworks4, len(b.networks4.ids), n4},
		{sectionNetworks6, len(b.networks6.ids), n6},
		{sectionPlaces4, len(b.places4.ids), p4},
		{sectionPlaces6, len(b.places6.ids), p6},
	} {
		before := len(body)
		body = compressor.EncodeAll(s.data, body)
		head.Sections = append(head.Sections, section{s.name, s.rows, len(body) - before, len(s.data)})
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(head); err != nil {
		return nil, err
	}
	out := binary.LittleEndian.AppendUint32([]byte(magic), uint32(text.Len()))
	return append(append(out, text.Bytes()...), body...), nil
}

func (b *Builder) encodeNetworks() (out []byte) {
	for _, n := range b.networks.list {
		out = binary.AppendUvarint(out, uint64(n.number))
	}
	return appendTexts(out, b.networks.list, func(n network) string { return n.name })
}

func (b *Builder) encodeRegions() (out []byte) {
	out = appendTexts(out, b.regions.list, func(r regionKey) string { return r.code })
	return appendTexts(out, b.regions.list, func(r regionKey) string { return r.name })
}

func (b *Builder) encodeCities() (out []byte) {
	for _, c := range b.cities.list {
		out = binary.AppendUvarint(out, uint64(b.regions.of[c.region]-1))
	}
	for _, c := range b.cities.list {
		out = binary.AppendVarint(out, int64(b.location(c).latitude))
	}
	for _, c := range b.cities.list {
		out = binary.AppendVarint(out, int64(b.location(c).longitude))
	}
	return appendTexts(out, b.cities.list, func(c city) string { return c.name })
}

func appendTexts[T any](out []byte, list []T, text func(T) string) []byte {
	for _, v := range list {
		out = binary.AppendUvarint(out, uint64(len(text(v))))
	}
	for _, v := range list {
		out = append(out, text(v)...)
	}
	return out
}
