// Package markdown finds the code blocks of the documentation, for the tests that run them.
package markdown

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Block is a fenced code block of a page.
type Block struct {
	Page     string // relative to the root
	Line     int    // of the opening fence, from 1
	Language string // the first word after the fence, in lower case
	Info     string // what follows that word
	Sections []string
	Code     string
}

func (b Block) String() string { return fmt.Sprintf("%s:%d (%s)", b.Page, b.Line, b.Language) }

// First is the block's first line of code.
func (b Block) First() string {
	first, _, _ := strings.Cut(b.Code, "\n")
	return first
}

// ForClickHouse says whether the text around the block says that it is for ClickHouse.
// TestQueriesOfThePages of internal/clickhouse runs those in SQL.
func (b Block) ForClickHouse() bool {
	return b.Language == "sql" && strings.Contains(strings.Join(b.Sections, "\n"), "ClickHouse")
}

// FromStore says whether the block reads an object store. TestRecipe of internal/mirror runs those.
func (b Block) FromStore() bool {
	return b.Language == "sql" && strings.Contains(b.Code, "LOAD httpfs")
}

var (
	fence   = regexp.MustCompile("^( *)(```+|~~~+) *(.*)$")
	heading = regexp.MustCompile(`^(#+) +(.*)$`)
)

// Blocks are the code blocks of README.md, CONTRIBUTING.md, SECURITY.md and all pages of docs.
func Blocks(root string) (blocks []Block, err error) {
	pages := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md"}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			path, err = filepath.Rel(root, path)
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			return nil, err
		}
		found, err := blocksOf(page, string(text))
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, found...)
	}
	return blocks, nil
}

// blocksOf are those of one page, whose fences may be indented by spaces.
func blocksOf(page, text string) (blocks []Block, err error) {
	var sections []string
	var open *Block
	var indent, end string
	var code strings.Builder
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		m := fence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			language, info, _ := strings.Cut(m[3], " ")
			indent, end = m[1], m[2]
			open = &Block{Page: page, Line: number, Language: strings.ToLower(language), Info: info, Sections: sections}
		case open == nil:
			if h := heading.FindStringSubmatch(line); h != nil {
				sections = append(slices.Clip(sections[:min(len(sections), len(h[1])-1)]), h[2])
			}
		case m != nil && m[3] == "" && strings.HasPrefix(m[2], end):
			open.Code = code.String()
			blocks = append(blocks, *open)
			open = nil
			code.Reset()
		default:
			code.WriteString(strings.TrimPrefix(line, indent) + "\n")
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block never ends", open)
	}
	return blocks, nil
}
