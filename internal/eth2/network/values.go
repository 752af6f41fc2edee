package network

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ValueError is a value of a network directory that cannot be used.
type ValueError struct {
	File  string
	Line  int    // 0 when the file has no such key
	Key   string // empty when the file is not a list of keys
	Value string // empty when the key is missing
	Err   error
}

func (e *ValueError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, " line %d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + " ")
	}
	if e.Value != "" {
		fmt.Fprintf(&b, "%.120q: ", e.Value)
	}
	return b.String() + e.Err.Error()
}

func (e *ValueError) Unwrap() error { return e.Err }

// values reads single keys of a YAML mapping. The first key that fails sets err,
// so that a caller can read many keys and check once.
type values struct {
	file  string
	line  int
	nodes map[string]*yaml.Node
	err   error
}

// parseValues reads a file whose root is a mapping. Values are kept as they are
// written: 0x01000000 stays hex, and a key that nobody reads may hold anything.
func parseValues(file string, data []byte) (*values, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return nil, &ValueError{File: file, Err: errors.New("is empty")}
	}
	return mappingValues(file, doc.Content[0])
}

func mappingValues(file string, node *yaml.Node) (*values, error) {
	node = resolve(node)
	if node.Kind != yaml.MappingNode {
		return nil, &ValueError{File: file, Line: node.Line, Value: node.Value, Err: errors.New(`want "KEY: value" lines`)}
	}
	v := &values{file: file, line: node.Line, nodes: make(map[string]*yaml.Node, len(node.Content)/2)}
	for pair := range slices.Chunk(node.Content, 2) {
		key := pair[0].Value
		if _, duplicate := v.nodes[key]; duplicate {
			return nil, &ValueError{File: file, Line: pair[0].Line, Key: key, Err: errors.New("is duplicated")}
		}
		v.nodes[key] = resolve(pair[1])
	}
	return v, nil
}

// resolve follows an alias to its anchor. An alias cannot name another alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// has reports whether the key is there with a value.
func (v *values) has(key string) bool {
	n, ok := v.nodes[key]
	return ok && n.ShortTag() != "!!null"
}

// text is a scalar as it is written, without quotes; ok is false when the key is
// missing or has no value.
func (v *values) text(key string) (s string, ok bool) {
	if !v.has(key) {
		return "", false
	}
	n := v.nodes[key]
	if n.Kind != yaml.ScalarNode {
		v.fail(key, "", errors.New("want a single value"))
		return "", false
	}
	return strings.TrimSpace(n.Value), true
}

// number is a whole number from lowest to highest, decimal or 0x hex; fallback when
// the key is missing.
func (v *values) number(key string, fallback, lowest, highest uint64) uint64 {
	s, ok := v.text(key)
	if !ok {
		return fallback
	}
	n, err := parseNumber(s)
	if err != nil || n < lowest || n > highest {
		v.fail(key, s, fmt.Errorf("want a whole number from %d to %d", lowest, highest))
		return fallback
	}
	return n
}

// required is a number that must be there.
func (v *values) required(key string, highest uint64) uint64 {
	if !v.has(key) {
		v.fail(key, "", errors.New("is missing"))
	}
	return v.number(key, 0, 0, highest)
}

// list gives the mappings of a list; none when the key is missing or null.
func (v *values) list(key string) []*values {
	if !v.has(key) {
		return nil
	}
	n := v.nodes[key]
	if n.Kind != yaml.SequenceNode {
		v.fail(key, n.Value, errors.New("want a list"))
		return nil
	}
	items := make([]*values, 0, len(n.Content))
	for _, child := range n.Content {
		item, err := mappingValues(v.file, child)
		if err != nil {
			v.fail(key, "", fmt.Errorf("line %d: want a list of EPOCH and MAX_BLOBS_PER_BLOCK", child.Line))
			return nil
		}
		items = append(items, item)
	}
	return items
}

// adopt records the error of an item of the list under the key.
func (v *values) adopt(key string, item *values) {
	var failed *ValueError
	if v.err == nil && errors.As(item.err, &failed) {
		failed.Key = key + " " + failed.Key
		if failed.Line == 0 {
			failed.Line = item.line
		}
		v.err = failed
	}
}

func (v *values) fail(key, value string, err error) {
	if v.err != nil {
		return
	}
	failed := &ValueError{File: v.file, Key: key, Value: value, Err: err}
	if n, ok := v.nodes[key]; ok {
		failed.Line = n.Line
	}
	v.err = failed
}

func parseNumber(s string) (uint64, error) {
	if digits, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		return strconv.ParseUint(digits, 16, 64)
	}
	return strconv.ParseUint(strings.ReplaceAll(s, "_", ""), 10, 64)
}
