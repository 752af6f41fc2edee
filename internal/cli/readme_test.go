package cli

import (
	"os"
	"path/filepath"
	"regexp"
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

// What README shows works as it is typed: `go run` exits with 1 after Ctrl-C, and DuckDB
// before 1.4 opens no directory as a table.
func TestReadmeShowsWhatWorksEverywhere(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "go run") {
		t.Error("README.md shows 'go run', which exits with 1 when a signal stops the program")
	}
	files := regexp.MustCompile(`FROM '([^']*)'`).FindAllStringSubmatch(string(text), -1)
	if len(files) == 0 {
		t.Error("README.md has no query")
	}
	for _, file := range files {
		if !strings.HasSuffix(file[1], ".parquet/*.parquet") {
			t.Errorf("README.md reads %s, want DIR/*.parquet", file[1])
		}
	}
}
