package cli

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

var update = flag.Bool("update", false, "write contrib/man/valtrack.1, docs/commands.md and docs/configuration.md")

const manPage = "../../contrib/man/valtrack.1"

// The manual page is written from the commands by `make docs`.
func TestManPageIsCurrent(t *testing.T) {
	want := manual((&program{}).root())
	if *update {
		if err := os.WriteFile(manPage, []byte(want), 0o644); err != nil { //nolint:gosec // everybody may read a manual
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(manPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("contrib/man/valtrack.1 is not what the commands say: run make docs")
	}
}

// manual is the page in man(7) format.
func manual(root *cli.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, `.TH VALTRACK 1 "" valtrack "User Commands"
.SH NAME
valtrack \- %s
.SH SYNOPSIS
.B valtrack
[global options] command [command options] [arguments...]
.SH DESCRIPTION
Valtrack visits the beacon nodes of an Ethereum consensus network, stores what they show, and
estimates the validators behind each of them.
.PP
Every option has an environment variable, VALTRACK_ and its name
.RB ( \-\-data\-dir :
.BR VALTRACK_DATA_DIR ;
.B NATS_URL
works for
.BR \-\-nats ),
and a key of its name in the YAML file of
.BR \-\-config .
A flag beats the environment, the environment the file.
.SH GLOBAL OPTIONS
`, troff(root.Usage))
	manualFlags(&b, root)
	b.WriteString(".SH COMMANDS\n")
	for _, c := range root.Commands {
		manualCommand(&b, "", c)
	}
	b.WriteString(`.SH SIGNALS
SIGINT and SIGTERM end a command that runs until it is stopped, within 8 seconds; one that comes a second later or
more ends it at once. SIGHUP makes a sentry without NATS reopen its log files.
.SH EXIT STATUS
.TP
0
Done, or stopped by a signal.
.TP
1
Failed, but a retry may succeed.
.TP
2
Wrong usage or configuration: read the message before you start it again.
.SH SEE ALSO
.BR systemctl (1),
.UR https://github.com/chainbound/valtrack
.UE
`)
	return b.String()
}

func manualCommand(b *strings.Builder, parent string, c *cli.Command) {
	name := strings.TrimSpace(parent + " " + c.Name)
	fmt.Fprintf(b, ".SS %s\n%s.\n", troff(strings.TrimSpace(name+" "+c.ArgsUsage)), troff(c.Usage))
	if c.Description != "" {
		fmt.Fprintf(b, ".PP\n.nf\n%s\n.fi\n", troff(c.Description))
	}
	manualFlags(b, c)
	for _, sub := range c.Commands {
		manualCommand(b, name, sub)
	}
}

func manualFlags(b *strings.Builder, c *cli.Command) {
	for _, f := range c.VisibleFlags() {
		names, text, _ := strings.Cut(flagLine(f), "\t")
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", troff(names), troff(strings.ReplaceAll(text, "\n\t", " ")))
	}
}

// troff escapes text: a line must not begin as a request does.
func troff(text string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
