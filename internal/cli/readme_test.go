package cli

import (
	"os"
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
