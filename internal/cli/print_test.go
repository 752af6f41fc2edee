package cli

import (
	"strings"
	"testing"
)

// Figures have the digits that mean something, and texts and whole numbers are left alone.
func TestFiguresAreRounded(t *testing.T) {
	v := map[string]any{"a": 4342.430533763991, "b": "4342.430533763991 \"0.123456789012\"", "c": uint64(1<<64 - 1), "d": []float64{-0.000001234567890123, 2.5, 1e300}, "e": 123456789012345.5}
	var out strings.Builder
	if err := writeJSON(&out, v); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"a": 4342.43053,`, `"b": "4342.430533763991 \"0.123456789012\""`, `"c": 18446744073709551615`, "-0.00000123456789,", "2.5,", "1e+300", `"e": 123456789012345.5`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, &out)
		}
	}
	for value, want := range map[string]string{"4342.430533763991": "4342.43", "43424305.33763991": "43424305", "0.01714285714": "0.0171429"} {
		if got := plain([]byte(value)); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
}
