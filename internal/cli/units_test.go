package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The systemd units run commands and options that exist, and do not start again after wrong
// configuration.
func TestSystemdUnits(t *testing.T) {
	files, err := filepath.Glob("../../contrib/systemd/*.service")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	root := (&program{}).root()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/valtrack (\w+)(.*)$`).FindStringSubmatch(string(text))
		if start == nil {
			t.Errorf("%s starts nothing", file)
			continue
		}
		cmd := root.Command(start[1])
		if cmd == nil {
			t.Errorf("%s runs the command %q, which does not exist", file, start[1])
			continue
		}
		var names []string
		for _, f := range slices.Concat(cmd.Flags, root.Flags) {
			names = append(names, f.Names()...)
		}
		for _, m := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(start[2], -1) {
			if !slices.Contains(names, m[1]) {
				t.Errorf("%s gives --%s, which %s does not have", file, m[1], start[1])
			}
		}
		for _, want := range []string{"RestartPreventExitStatus=2\n", "Environment=" + variableOf(flagDataDir) + "="} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q", file, want)
			}
		}
	}
}
