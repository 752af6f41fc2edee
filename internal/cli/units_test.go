package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/sentry"
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

// The steps and the units name the network, by variables that exist, and the sizing has the
// figures of the defaults.
func TestOperationsNameNetworkAndDefaults(t *testing.T) {
	files, err := filepath.Glob("../../contrib/systemd/*.service")
	if err != nil {
		t.Fatal(err)
	}
	root := (&program{}).root()
	known := invocation{cmd: root}.variables()
	for _, file := range append(files, "../../docs/operations.md", "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bVALTRACK_[A-Z_]*[A-Z]`).FindAllString(string(text), -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s names %s, which is the variable of no option", file, name)
			}
		}
		if !strings.HasSuffix(file, "README.md") && !strings.Contains(string(text), variableOf(flagNetwork)+"=") {
			t.Errorf("%s does not name the network", file)
		}
		if strings.HasSuffix(file, "operations.md") && !strings.Contains(string(text), fmt.Sprintf("With the defaults, %d watched nodes", sentry.DefaultMaxWatched)) {
			t.Errorf("%s has no sizing for the default of --max-watched, %d", file, sentry.DefaultMaxWatched)
		}
	}
}
