package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/urfave/cli/v3"
)

// A variable in a unit, a manifest or a container that is of no option has no effect.
func TestVariablesOfContribAreOptions(t *testing.T) {
	var known []string
	var add func(c *cli.Command)
	add = func(c *cli.Command) {
		for _, f := range c.Flags {
			known = append(known, variableOf(f.Names()[0]))
		}
		for _, sub := range c.Commands {
			add(sub)
		}
	}
	add((&program{}).root())
	named := 0
	variable := regexp.MustCompile(`VALTRACK_[A-Z_]+[A-Z]`)
	check := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range variable.FindAllString(string(text), -1) {
			if named++; !slices.Contains(known, name) {
				t.Errorf("%s sets %s, which is of no option", path, name)
			}
		}
	}
	check("../../Containerfile")
	err := filepath.WalkDir("../../contrib", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) != ".1" {
			check(path)
		}
		return err
	})
	if err != nil || named < 20 {
		t.Error(named, err)
	}
}
