package cli

import "testing"

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1GiB": 1 << 30, "512MiB": 512 << 20, "1.5 GiB": 3 << 29, "2GB": 2e9, "64KiB": 64 << 10, "1000000": 1e6, "7 B": 7, "1TiB": 1 << 40,
		"": -1, "GiB": -1, "-1GiB": -1, "1XB": -1, "1GiBB": -1, "1e30": -1, "NaN": -1, "1 2": -1, "Inf": -1,
	} {
		got, err := parseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
