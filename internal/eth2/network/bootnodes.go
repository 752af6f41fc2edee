package network

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/chainbound/valtrack/internal/eth2/enr"
)

const (
	bootnodesText    = "bootstrap_nodes.txt"
	bootnodesYAML    = "bootstrap_nodes.yaml"
	maxBootnodesSize = 1 << 20
)

// readBootnodes returns the ENRs of bootstrap_nodes.txt, else of
// bootstrap_nodes.yaml; none when both are missing. Every ENR must be valid.
func readBootnodes(fsys fs.FS) ([]string, error) {
	data, err := readFile(fsys, bootnodesText, maxBootnodesSize)
	if err == nil {
		return parseBootnodesText(data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	data, err = readFile(fsys, bootnodesYAML, maxBootnodesSize)
	if err == nil {
		return parseBootnodesYAML(data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return nil, nil
}

// parseBootnodesText reads one ENR per line; # begins a comment.
func parseBootnodesText(data []byte) ([]string, error) {
	var nodes []string
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		text, _, _ := strings.Cut(line, "#")
		text = strings.TrimSpace(text)
		// Some published lists are YAML items under this name.
		text = strings.Trim(strings.TrimPrefix(text, "- "), `"' `)
		if text == "" {
			continue
		}
		if err := checkENR(bootnodesText, number, text); err != nil {
			return nil, err
		}
		nodes = append(nodes, text)
	}
	return nodes, nil
}

// parseBootnodesYAML reads a list of ENRs.
func parseBootnodesYAML(data []byte) ([]string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", bootnodesYAML, err)
	}
	if len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" {
		return nil, nil
	}
	list := doc.Content[0]
	if list.Kind != yaml.SequenceNode {
		return nil, &ValueError{File: bootnodesYAML, Line: list.Line, Value: list.Value, Err: errors.New("want a list of ENRs")}
	}
	var nodes []string
	for _, item := range list.Content {
		text := strings.TrimSpace(resolve(item).Value)
		if err := checkENR(bootnodesYAML, item.Line, text); err != nil {
			return nil, err
		}
		nodes = append(nodes, text)
	}
	return nodes, nil
}

// checkENR refuses a bad record when the list is read: at run time it would only
// look like a bootnode that does not answer.
func checkENR(file string, line int, text string) error {
	if _, err := enr.Parse(text); err != nil {
		return &ValueError{File: file, Line: line, Err: err}
	}
	return nil
}
