package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
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
	files := valtrackUnits(t)
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
		if strings.TrimSpace(start[2]) != "" {
			t.Errorf("%s gives %s, which no variable of an environment file can change", file, start[2])
		}
		if own := "EnvironmentFile=-/etc/valtrack/" + start[1] + ".env\n"; start[1] != "run" && !strings.Contains(string(text), own) {
			t.Errorf("%s has no %q: two processes cannot serve metrics at one address", file, own)
		}
		for _, want := range []string{"RestartPreventExitStatus=2\n", "Environment=" + variableOf(flagDataDir) + "=",
			"ExecStartPre=/usr/bin/touch /var/lib/valtrack/exclude.txt\n", "Environment=" + variableOf(flagExclude) + "=/var/lib/valtrack/exclude.txt\n", "EnvironmentFile=-/etc/valtrack/valtrack.env\n"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q", file, want)
			}
		}
	}
}

// valtrackUnits are the units that run this program.
func valtrackUnits(t *testing.T) (files []string) {
	t.Helper()
	all, err := filepath.Glob("../../contrib/systemd/*.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if filepath.Base(file) != natsUnit {
			files = append(files, file)
		}
	}
	if len(all) != len(files)+1 || len(files) == 0 {
		t.Fatalf("%v: want %s and others", all, natsUnit)
	}
	return files
}

const natsUnit = "valtrack-nats.service"

// Each unit is started by the steps of operations.md, and those that need NATS start after it.
func TestOperationsStartEveryUnit(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	started := strings.Join(regexp.MustCompile(`systemctl enable --now ([a-z -]+)`).FindAllString(string(text), -1), " ") + " "
	for _, file := range append(valtrackUnits(t), natsUnit) {
		name := strings.TrimSuffix(filepath.Base(file), ".service")
		if !strings.Contains(started, " "+name+" ") || !strings.Contains(string(text), "contrib/systemd/"+name+".service") {
			t.Errorf("operations.md does not install and enable %s", name)
		}
		if name == "valtrack-run" || file == natsUnit {
			continue
		}
		unit, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^After=.*\b` + regexp.QuoteMeta(natsUnit) + `\b`).Match(unit) {
			t.Errorf("%s does not start after %s", name, natsUnit)
		}
	}
}

// systemd has no complaint about the units.
func TestSystemdVerifiesTheUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil || testing.Short() {
		t.Skip("without systemd-analyze")
	}
	dir := t.TempDir()
	for _, file := range append(valtrackUnits(t), "../../contrib/systemd/"+natsUnit) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile(`(?m)^ExecStart=\S+`).ReplaceAll(text, []byte("ExecStart=/bin/true")) // which is installed
		text = regexp.MustCompile(`(?m)^(User|Group)=.*$`).ReplaceAll(text, nil)
		path := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("systemd-analyze", "verify", path).CombinedOutput(); err != nil || bytes.Contains(out, []byte(filepath.Base(file))) {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

// The steps and the units name the network, by variables that exist, and the sizing has the
// figures of the defaults.
func TestOperationsNameNetworkAndDefaults(t *testing.T) {
	files := valtrackUnits(t)
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
