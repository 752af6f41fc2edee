package printable

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"Lighthouse/v8.0.0-ab/x86":       "Lighthouse/v8.0.0-ab/x86",
		"žluťoučký 節點 🦀":                 "žluťoučký 節點 🦀",
		"a\u00a0b":                       "a\u00a0b", // a no-break space is shown
		"a\x1b[2Jb":                      "a[2Jb",
		"\x1b]0;title\a":                 "]0;title",
		"first\nsecond\r\n\tthird":       "first second   third",
		"\u009b31m":                      "31m",
		"\x9b31m\xff":                    "31m",
		"\u202egpj.exe":                  "gpj.exe",
		"\x00\x7f\b\u2028x":              " x",
		"replaced \ufffd before":         "replaced \ufffd before",
		strings.Repeat("x", 15) + "\x7f": strings.Repeat("x", 15),
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
		if Is(in) != (in == want) {
			t.Errorf("Is(%q) = %v", in, Is(in))
		}
	}
}

// Every byte is judged alike at every place of the fast part.
func TestIsLooksAtEveryByte(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				b := []byte(strings.Repeat("x", length))
				b[at] = byte(c)
				if want := c >= ' ' && c < 0x7f; Is(string(b)) != want || ASCII(string(b)) != want {
					t.Fatalf("%q: want %v", b, want)
				}
			}
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[2J\xe7\xaf\u202e\n")
	f.Fuzz(func(t *testing.T, text string) {
		shown := func(s string, also string) bool {
			return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) && !strings.ContainsRune(also, r) })
		}
		if clean := Clean(text); !shown(clean, "") || !Is(clean) || Is(text) != (clean == text) {
			t.Errorf("Clean(%q) = %q", text, clean)
		}
		if out := string(Escape([]byte(text))); !shown(out, "\n\t") {
			t.Errorf("Escape(%q) = %q", text, out)
		}
	})
}
