package network

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2/enr"
)

const (
	maxBootnodesSize = 1 << 20
	// maxBadBootnodes bounds the bad entries that are reported one by one.
	maxBadBootnodes = 10
)

// BootnodeFiles are the names under which networks publish their bootnodes, in the order in
// which they are tried. The first file with a usable record counts.
func BootnodeFiles() []string {
	return []string{
		"bootstrap_nodes.txt", "bootstrap_nodes.yaml", "bootstrap_nodes.yml", "boot_enr.yaml", "boot_enr.yml", "boot_enr.txt",
		"bootnodes.txt", "bootnodes.yaml", "bootnodes.yml",
	}
}

// readBootnodes returns the records, and warnings about what is not used and about files
// without any record. A bad entry never hides the good ones.
func readBootnodes(fsys fs.FS) (nodes, warnings []string) {
	for _, name := range BootnodeFiles() {
		data, err := readFile(fsys, name, maxBootnodesSize)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			warnings = append(warnings, "not used: "+err.Error())
			continue
		}
		var bad []string
		nodes, bad = parseBootnodes(name, string(data))
		warnings = append(warnings, bad...)
		if len(nodes) > 0 {
			return nodes, warnings
		}
	}
	return nil, append(warnings, "the directory has no bootnodes: looked for ENRs in "+strings.Join(BootnodeFiles(), ", "))
}

// parseBootnodes reads the records of a text or YAML file: one per line, list items, or
// separated by commas or spaces; # begins a comment.
func parseBootnodes(file, data string) (nodes, bad []string) {
	number, more := 0, 0
	for line := range strings.Lines(data) {
		number++
		text, _, _ := strings.Cut(line, "#")
		for _, entry := range strings.FieldsFunc(text, betweenBootnodes) {
			if notBootnode(entry) {
				continue
			}
			r, err := enr.Parse(entry)
			switch {
			case err == nil:
				if !slices.Contains(nodes, r.Raw) {
					nodes = append(nodes, r.Raw)
				}
			case len(bad) < maxBadBootnodes:
				// Nothing else says so: at run time it would look like a bootnode that
				// does not answer.
				bad = append(bad, "not used: "+(&ValueError{File: file, Line: number, Err: err}).Error())
			default:
				more++
			}
		}
	}
	if more > 0 {
		bad = append(bad, fmt.Sprintf("not used: %s: %d more entries that are not ENRs", file, more))
	}
	return nodes, bad
}

// betweenBootnodes are the characters that separate and surround records in lists.
func betweenBootnodes(r rune) bool { return strings.ContainsRune(" \t\r\n\v\f,;[]\"'`", r) }

// notBootnode reports whether an entry is the YAML around records: a list item's mark, a
// key, an empty value, the begin or end of a document.
func notBootnode(entry string) bool {
	switch strings.ToLower(entry) {
	case "-", "---", "...", "null", "~", "{}", "|", ">":
		return true
	}
	return strings.HasSuffix(entry, ":") && !strings.EqualFold(entry, "enr:")
}
