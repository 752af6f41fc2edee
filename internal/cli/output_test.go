package cli

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// What remote nodes chose never reaches a terminal as a command to it.
func TestTerminalGetsPrintableText(t *testing.T) {
	for in, want := range map[string]string{
		"Lighthouse/v8\tžluťoučký 節點 🦀\n": "Lighthouse/v8\tžluťoučký 節點 🦀\n",
		"a\x1b[2Jb":         `a\x1b[2Jb`,
		"\x1b]0;title\a":    `\x1b]0;title\a`,
		"safe\revil":        `safe\revil`,
		"\u009b31m":         `\u009b31m`,
		"\x9b31m\xff":       `\x9b31m\xff`,
		"\u202egpj.exe":     `\u202egpj.exe`,
		"\x00\x7f\b\u2028x": `\x00\x7f\b\u2028x`,
	} {
		var b bytes.Buffer
		whole := &output{w: &b, terminal: true}
		if n, err := whole.Write([]byte(in)); err != nil || n != len(in) || b.String() != want {
			t.Errorf("%q gives %q, %d, %v; want %q", in, b.String(), n, err, want)
		}
		b.Reset()
		parts := &output{w: &b, terminal: true}
		for i := range len(in) {
			fmt.Fprint(parts, in[i:i+1])
		}
		if b.String() != want && in != "\x9b31m\xff" { // the last byte waits for its rune
			t.Errorf("%q byte by byte gives %q, want %q", in, b.String(), want)
		}
	}
}

// A pipe or a file gets the bytes as they are, and an error is kept.
func TestOutputOffTerminal(t *testing.T) {
	var b bytes.Buffer
	o := newOutput(&b)
	fmt.Fprint(o, "\x1b[2J")
	if b.String() != "\x1b[2J" || o.err != nil {
		t.Errorf("wrote %q, error %v", b.String(), o.err)
	}
	full := errors.New("disk full")
	o = newOutput(failing{full})
	fmt.Fprint(o, "x")
	if !errors.Is(o.err, full) {
		t.Errorf("error %v", o.err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
