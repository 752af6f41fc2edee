package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A command that README does not list is not found.
func TestReadmeListsEveryCommand(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Commands\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, cmd := range (&program{}).root().Commands {
		if cmd.Name != "help" && !strings.Contains(table, "`"+cmd.Name+"`") && !strings.Contains(table, "`"+cmd.Name+" ") {
			t.Errorf("README.md has no row for the command %s", cmd.Name)
		}
	}
}

// A command that no script types is tested by nobody.
func TestScriptsTypeEveryCommand(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var scripts strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		scripts.Write(text)
	}
	for _, cmd := range (&program{}).root().Commands {
		typed := regexp.MustCompile(`(?m)^(exec|exitcode \d) valtrack ` + cmd.Name + `\b`)
		if !typed.MatchString(scripts.String()) {
			t.Errorf("no script in testdata/script runs valtrack %s", cmd.Name)
		}
	}
}

// What README and the quick start show works as it is typed: `go run` exits with 1 after Ctrl-C,
// DuckDB before 1.4 opens no directory as a table, and commands and options exist.
func TestReadmeShowsWhatWorksEverywhere(t *testing.T) {
	root := (&program{}).root()
	for _, page := range []string{"../../README.md", "../../docs/quick-start.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "go run") {
			t.Errorf("%s shows 'go run', which exits with 1 when a signal stops the program", page)
		}
		files := regexp.MustCompile(`FROM '([^']*)'`).FindAllStringSubmatch(string(text), -1)
		if len(files) == 0 {
			t.Errorf("%s has no query", page)
		}
		for _, file := range files {
			if !strings.HasSuffix(file[1], ".parquet/*.parquet") {
				t.Errorf("%s reads %s, want DIR/*.parquet", page, file[1])
			}
		}
		lines := regexp.MustCompile(`\./valtrack ([a-z]+)(.*)`).FindAllStringSubmatch(string(text), -1)
		if len(lines) < 4 {
			t.Errorf("%s shows %d commands", page, len(lines))
		}
		for _, line := range lines {
			cmd := root.Command(line[1])
			if cmd == nil {
				t.Errorf("%s shows %s, which does not exist", page, line[0])
				continue
			}
			var names []string
			for _, f := range slices.Concat(cmd.Flags, root.Flags) {
				names = append(names, f.Names()...)
			}
			options, _, _ := strings.Cut(line[2], "#")
			for _, m := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(options, -1) {
				if !slices.Contains(names, m[1]) {
					t.Errorf("%s shows %s: there is no --%s", page, line[0], m[1])
				}
			}
		}
	}
}
