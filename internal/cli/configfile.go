package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
	"go.yaml.in/yaml/v3"
)

// maxConfigFile bounds the configuration file in bytes; a real one has a few lines.
const maxConfigFile = 1 << 20

// applyConfigFile sets the flags of cmd and its ancestors that neither the
// command line nor the environment set, from a YAML mapping of flag names to
// values (a list for repeatable flags). One file may serve several commands:
// keys of other commands' flags are checked and left alone. Errors
// name file and line.
func applyConfigFile(cmd *cli.Command, path string) error {
	mapping, err := readMapping(path)
	if err != nil {
		return asUsage(err)
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(mapping); i += 2 {
		key, value := mapping[i], mapping[i+1]
		if seen[key.Value] {
			return usagef("%s:%d: key %q is duplicated", path, key.Line, key.Value)
		}
		seen[key.Value] = true
		values, err := scalars(value)
		if err != nil {
			return usagef("%s:%d: %s: %w", path, value.Line, key.Value, err)
		}
		if err := applyKey(cmd, key.Value, values); err != nil {
			return usagef("%s:%d: %w", path, key.Line, err)
		}
	}
	return nil
}

// readMapping gives the keys and values of the file's mapping, in turns.
func readMapping(path string) ([]*yaml.Node, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, fmt.Errorf("--config: read %s: %w", path, err)
	}
	if len(data) > maxConfigFile {
		return nil, fmt.Errorf("--config: %s is over %d bytes", path, maxConfigFile)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil // empty, or comments only
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one YAML document, of which only the first would be used: remove the --- line before the second, or the documents after it", path)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want option names with values, as in 'data-dir: ./data'", path, root.Line)
	}
	return root.Content, nil
}

// scalars are the values of a scalar or of a list of scalars.
func scalars(n *yaml.Node) ([]string, error) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil, errors.New("has no value")
	case n.Kind == yaml.ScalarNode:
		return []string{n.Value}, nil
	case n.Kind == yaml.SequenceNode:
		var out []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, errors.New("want a list of plain values")
			}
			out = append(out, item.Value)
		}
		return out, nil
	}
	return nil, errors.New("want a plain value or a list of them")
}

// applyKey sets every flag of the name in the command tree, so that values are
// checked for the commands that are not run, too. A flag that the command line
// or the environment set keeps its value.
func applyKey(cmd *cli.Command, name string, values []string) error {
	known := false
	var names []string
	err := cmd.Root().Walk(func(c *cli.Command) error {
		for _, f := range c.Flags {
			if !configurable(f) {
				continue
			}
			names = append(names, f.Names()[0])
			if !slices.Contains(f.Names(), name) || len(name) == 1 {
				continue
			}
			known = true
			if err := setFromFile(f, name, values); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !known {
		slices.Sort(names)
		if near := nearest(name, names); near != "" {
			return fmt.Errorf("unknown key %q; keys are option names: did you mean %q?", name, near)
		}
		return fmt.Errorf("unknown key %q; keys are option names: %s", name, strings.Join(slices.Compact(names), ", "))
	}
	return nil
}

// configurable leaves out what makes no sense in a file.
func configurable(f cli.Flag) bool {
	name := f.Names()[0]
	return name != "help" && name != flagConfig
}

func setFromFile(f cli.Flag, name string, values []string) error {
	multi, ok := f.(cli.DocGenerationMultiValueFlag)
	if len(values) > 1 && (!ok || !multi.IsMultiValueFlag()) {
		return fmt.Errorf("%s takes one value, got a list of %d", name, len(values))
	}
	if f.IsSet() {
		return nil
	}
	for _, v := range values {
		if err := f.Set(name, v); err != nil {
			return fmt.Errorf("%s %q: want %s", name, v, wanted(f))
		}
	}
	return nil
}
