package geo

import (
	_ "embed"
	"strings"
	"sync"
)

// countries.tsv has the codes of ISO 3166-1 alpha-2 and XK with short English names.
//
//go:embed countries.tsv
var countriesTSV string

var countryNames = sync.OnceValue(func() map[string]string {
	names := map[string]string{}
	for line := range strings.Lines(countriesTSV) {
		code, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		names[code] = name
	}
	return names
})

var countryCodes = sync.OnceValue(func() map[string]string {
	codes := map[string]string{}
	for code, name := range countryNames() {
		codes[strings.ToLower(name)] = code
	}
	return codes
})

// CountryName is the English name of a country of ISO 3166-1 by its alpha-2 code, the same
// whatever database the code is from; empty for an unknown code.
func CountryName(code string) string { return countryNames()[code] }

// countryCode is the code of a country by its English name, in any case; empty for
// an unknown name.
func countryCode(name string) string { return countryCodes()[strings.ToLower(name)] }
