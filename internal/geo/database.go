package geo

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/netip"
	"os"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/chainbound/valtrack/internal/printable"
)

const (
	// maxDatabase bounds the memory for a user's database, which is read as a whole: a file
	// that is mapped into memory and then truncated would end the process.
	maxDatabase = 2 << 30
	// sampled is how many records of a database are checked when it is opened.
	sampled = 1000
	// maxWalked is how many networks are passed on the way to those records. A tree has at
	// most 128 without a record beside each that has one; in a file whose nodes share
	// their children there may be 2^128.
	maxWalked = 1 << 20
)

// database is a file in the format mmdb, of any of the schemas in fields.go.
type database struct {
	path   string
	reader *maxminddb.Reader
	source Source
	stat   fs.FileInfo
}

// openDatabase reads a file. An error says what is wrong with which field of it.
func openDatabase(path string) (*database, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if stat.Size() > maxDatabase {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are possible", path, stat.Size(), int64(maxDatabase))
	}
	data := make([]byte, stat.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	after, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !sameFile(stat, after) {
		return nil, fmt.Errorf("%s was changed while it was read", path)
	}
	d, err := parseDatabase(path, data)
	if err != nil {
		return nil, err
	}
	d.stat = stat
	return d, nil
}

// sameFile reports whether a file has not been replaced or written since.
func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// parseDatabase keeps the data.
func parseDatabase(path string, data []byte) (*database, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("%s is not a complete database in the format mmdb: %w", path, err)
	}
	meta := reader.Metadata
	if meta.BuildEpoch == 0 || meta.BuildEpoch > math.MaxInt32 {
		return nil, fmt.Errorf("%s: field build_epoch of the metadata is %d, not a time", path, meta.BuildEpoch)
	}
	name := printable.Clean(clip(meta.DatabaseType))
	if name == "" {
		return nil, fmt.Errorf("%s: field database_type of the metadata is empty", path)
	}
	d := &database{path: path, reader: reader, source: Source{Name: name, Date: meta.BuildTime().UTC(), File: path}}
	return d, d.check()
}

// check reads some records: a database without a field that we know would never say
// anything, and one whose fields cannot be read is better refused than ignored.
func (d *database) check() error {
	known, checked, walked := false, 0, 0
	keys := map[string]bool{}
	// Without these options the iterator skips networks by itself, for as long as there are some.
	for result := range d.reader.Networks(maxminddb.IncludeNetworksWithoutData(), maxminddb.IncludeAliasedNetworks()) {
		if walked++; walked > maxWalked {
			return fmt.Errorf("%s: the search tree is damaged: its first %d networks have %d records, so branches of it are repeated", d.path, maxWalked, checked)
		}
		if result.Err() == nil && !result.Found() {
			continue
		}
		var rec map[string]any
		if err := result.Decode(&rec); err != nil {
			return fmt.Errorf("%s: the record of %s: %w", d.path, result.Prefix(), err)
		}
		var p Place
		if err := readRecord(rec, &p); err != nil {
			return fmt.Errorf("%s: the record of %s: %w", d.path, result.Prefix(), err)
		}
		known = known || knows(rec)
		for key := range rec {
			keys[key] = true
		}
		if checked++; checked == sampled {
			break
		}
	}
	switch {
	case checked == 0:
		return fmt.Errorf("%s has no records", d.path)
	case !known:
		return fmt.Errorf("%s, of the type %s, has nothing that Valtrack reads: its fields are %s, and none is a country, region, city, coordinate, network number or type (see docs/operations.md, \"Places\")",
			d.path, d.source.Name, fieldList(keys))
	}
	return nil
}

// lookup reads what the database has about an address. What can be read is in the Place,
// also when there is an error.
func (d *database) lookup(ip netip.Addr) (Place, error) {
	var p Place
	if ip.Is6() && d.reader.Metadata.IPVersion == 4 {
		return p, nil
	}
	var rec map[string]any
	if err := d.reader.Lookup(ip).Decode(&rec); err != nil {
		return p, fmt.Errorf("%s: %w", d.path, err)
	}
	if err := readRecord(rec, &p); err != nil {
		return p, fmt.Errorf("%s: %w", d.path, err)
	}
	return p, nil
}
