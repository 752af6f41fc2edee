package geo

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/geo/hosting"
	"github.com/chainbound/valtrack/internal/printable"
)

// The paths of a field in the schemas of MaxMind and DB-IP, ip-location-db, and IPinfo.
// The first one with a value counts.
var (
	codePaths         = []string{"country.iso_code", "country_code"}
	countryPaths      = []string{"country.names.en", "country_name", "country"}
	regionPaths       = []string{"subdivisions.0.names.en", "state1", "region"}
	cityPaths         = []string{"city.names.en", "city"}
	latitudePaths     = []string{"location.latitude", "latitude", "lat"}
	longitudePaths    = []string{"location.longitude", "longitude", "lng", "lon"}
	asnPaths          = []string{"autonomous_system_number", "traits.autonomous_system_number", "asn"}
	organizationPaths = []string{"autonomous_system_organization", "traits.autonomous_system_organization", "as_name", "name"}
	hostingFlagPaths  = []string{"is_hosting", "hosting"}
	hostingPaths      = []string{"traits.user_type", "as_type", "type"}
)

// knows reports whether a record has any field that we read, with or without a value.
func knows(values map[string]any) bool {
	for _, paths := range [][]string{codePaths, countryPaths, regionPaths, cityPaths, latitudePaths, asnPaths, hostingFlagPaths, hostingPaths} {
		if slices.ContainsFunc(paths, func(path string) bool { return at(values, path) != nil }) {
			return true
		}
	}
	return false
}

// userTypes are MaxMind's kinds of users and IPinfo's kinds of networks in IPinfo's words.
var userTypes = map[string]hosting.Type{
	"hosting": hosting.Hosting, "content_delivery_network": hosting.Hosting,
	"isp": hosting.ISP, "residential": hosting.ISP, "cellular": hosting.ISP, "dialup": hosting.ISP,
	"business": hosting.Business, "government": hosting.Business, "military": hosting.Business,
	"education": hosting.Education, "college": hosting.Education, "school": hosting.Education, "library": hosting.Education,
}

// fieldError means that a field has a value that it cannot have.
type fieldError struct {
	path  string
	value any
}

func (e *fieldError) Error() string {
	value := fmt.Sprint(e.value)
	return fmt.Sprintf("field %s is %q (%T)", e.path, printable.Clean(value[:min(len(value), 100)]), e.value)
}

// record reads fields of a database's record. Fields that cannot be read are unknown, and
// the first of them is the error.
type record struct {
	values map[string]any
	err    error
}

// readRecord sets what a record has.
func readRecord(values map[string]any, p *Place) error {
	r := &record{values: values}
	p.CountryCode = strings.ToUpper(r.text(codePaths))
	p.Country = CountryName(p.CountryCode)
	if p.Country == "" {
		r.country(p)
	}
	p.Region, p.City = r.text(regionPaths), r.text(cityPaths)
	latitude, ok1 := r.degrees(latitudePaths, 90)
	longitude, ok2 := r.degrees(longitudePaths, 180)
	if ok1 && ok2 {
		p.Latitude, p.Longitude, p.Located = latitude, longitude, true
	}
	p.ASN = r.asn()
	if p.ASN != 0 {
		p.Organization = r.text(organizationPaths)
	}
	p.Hosting = r.hosting()
	return r.err
}

// country reads a country that has no known code beside it: its name or its code.
func (r *record) country(p *Place) {
	name := r.text(countryPaths)
	switch known := CountryName(name); {
	case name == "":
	case known != "":
		p.CountryCode, p.Country = name, known
	default:
		p.Country = name
		if code := countryCode(name); code != "" && p.CountryCode == "" {
			p.CountryCode, p.Country = code, CountryName(code)
		}
	}
}

// find gives the value at the first path that has one, and the path.
func (r *record) find(paths []string) (value any, path string) {
	for _, path := range paths {
		switch v := at(r.values, path).(type) {
		case nil, map[string]any, []any: // nothing, or another schema's field of this name
		default:
			if v != "" && v != "-" {
				return v, path
			}
		}
	}
	return nil, ""
}

// at follows a path of keys and indices; nil when it leads nowhere.
func at(v any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch node := v.(type) {
		case map[string]any:
			v = node[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(node) {
				return nil
			}
			v = node[i]
		default:
			return nil
		}
	}
	return v
}

func (r *record) fail(path string, value any) {
	if r.err == nil {
		r.err = &fieldError{path, value}
	}
}

// text gives a string without characters that would spoil a terminal; empty where there
// is none.
func (r *record) text(paths []string) string {
	value, path := r.find(paths)
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return printable.Clean(strings.ToValidUTF8(v[:min(len(v), maxText)], ""))
	}
	r.fail(path, value)
	return ""
}

// degrees gives a coordinate of at most limit in either direction.
func (r *record) degrees(paths []string, limit float64) (float64, bool) {
	value, path := r.find(paths)
	if value == nil {
		return 0, false
	}
	degrees := math.NaN()
	switch v := value.(type) {
	case float64:
		degrees = v
	case float32:
		degrees, _ = strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	case string:
		if parsed, err := strconv.ParseFloat(v, 64); err == nil {
			degrees = parsed
		}
	}
	if !(math.Abs(degrees) <= limit) { // or NaN
		r.fail(path, value)
		return 0, false
	}
	return degrees, true
}

// asn reads a number, or text such as AS13335; 0 where there is none.
func (r *record) asn() uint32 {
	value, path := r.find(asnPaths)
	switch v := value.(type) {
	case nil:
		return 0
	case uint64:
		if v <= math.MaxUint32 {
			return uint32(v)
		}
	case string:
		digits := strings.TrimPrefix(strings.ToUpper(v), "AS")
		if n, err := strconv.ParseUint(digits, 10, 32); err == nil {
			return uint32(n)
		}
	}
	r.fail(path, value)
	return 0
}

// hosting reads who uses the address. A flag says only that it is a data centre.
func (r *record) hosting() hosting.Type {
	for _, path := range hostingFlagPaths {
		switch v := at(r.values, path).(type) {
		case bool:
			if v {
				return hosting.Hosting
			}
		case string:
			if strings.EqualFold(v, "true") {
				return hosting.Hosting
			}
		}
	}
	return userTypes[strings.ToLower(r.text(hostingPaths))]
}

func fieldList(keys map[string]bool) string {
	if len(keys) == 0 {
		return "none"
	}
	list := slices.Sorted(maps.Keys(keys))
	return printable.Clean(clip(strings.Join(list, ", ")))
}
