package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/printable"
)

// writeJSON writes v as indented JSON with a newline, fractions with nine digits: no estimate
// knows more.
func writeJSON(w io.Writer, v any) error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if _, err := w.Write(fraction.ReplaceAllFunc(out.Bytes(), func(text []byte) []byte { return rounded(text, 9) })); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// fraction is a string, which stays as it is, or a number with many digits and a point.
var fraction = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?[0-9]+\.[0-9]{4,}(?:[eE][-+]?[0-9]+)?`)

// rounded is a number with at most so many significant digits, or a whole one with more; other
// text is as it is.
func rounded(text []byte, digits int) []byte {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return text
	}
	if math.Abs(v) >= math.Pow10(digits) {
		v = math.Round(v)
	} else if v, err = strconv.ParseFloat(strconv.FormatFloat(v, 'e', digits-1, 64), 64); err != nil {
		return text
	}
	out, err := json.Marshal(v) // which writes numbers as the encoder does
	if err != nil {
		return text
	}
	return out
}

// print writes a result that is one object: JSON with --json, else a line for
// each field in the object's order.
func (in invocation) print(v any) error {
	if in.cmd.Bool(flagJSON) {
		return writeJSON(in.stdout, v)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	w := tabwriter.NewWriter(in.stdout, 0, 8, 2, ' ', 0)
	if err := printFields(w, "", data); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return w.Flush()
}

// printFields writes "name<TAB>value" for each member of the JSON object, with a
// dotted name for members of objects inside it. It reads the encoded object
// because that has the members in order under their contract names.
func printFields(w io.Writer, prefix string, object []byte) error {
	return eachMember(object, func(name string, value json.RawMessage) error {
		if value[0] == '{' {
			return printFields(w, prefix+name+".", value)
		}
		_, err := fmt.Fprintf(w, "%s\t%s\n", prefix+name, plain(value))
		return err
	})
}

// eachMember calls each with the members of a JSON object, in order.
func eachMember(object []byte, each func(name string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if err := each(fmt.Sprint(name), value); err != nil {
			return err
		}
	}
	return nil
}

// plain is a JSON value as a person reads it: strings without quotes, lists
// with spaces, "none" for an empty one.
func plain(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return printable.Clean(s)
	}
	var list []json.RawMessage
	if value[0] == '[' && json.Unmarshal(value, &list) == nil {
		words := make([]string, len(list))
		for i, item := range list {
			words[i] = plain(item)
		}
		return cmp.Or(strings.Join(words, " "), "none")
	}
	if text := string(value); text != farFuture {
		return string(fraction.ReplaceAllFunc(value, func(text []byte) []byte { return rounded(text, 6) }))
	}
	return "none"
}

// farFuture is the epoch of a fork that is not announced.
var farFuture = strconv.FormatUint(uint64(eth2.FarFutureEpoch), 10)
