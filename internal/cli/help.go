package cli

import (
	"context"
	"strings"

	"github.com/urfave/cli/v3"
)

// rootHelpTemplate is the help page of the earlier program: the library's own
// leaves out the help command's line.
const rootHelpTemplate = `NAME:
   {{.Name}} - {{.Usage}}

USAGE:
   {{.UsageText}}

COMMANDS:{{template "commands" .}}

GLOBAL OPTIONS:{{range .VisibleFlags}}
   {{.}}{{end}}

Every option of every command has an environment variable, VALTRACK_ and its name
(--data-dir: VALTRACK_DATA_DIR; NATS_URL works for --nats), and a key of its name in
the YAML file of --config. A flag beats the environment, the environment the file.
Completions for your shell: valtrack completion --help
{{define "commands"}}{{$width := offsetCommands .VisibleCommands 5}}{{range .Commands}}{{if not .Hidden}}
   {{$names := join .Names ", "}}{{$names}}{{indent (subtract $width (offset $names 3)) ""}}{{.Usage}}{{end}}{{end}}{{end}}`

// helpCommand is in the list like any other command, so that its place in
// the list is ours to choose.
func helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Aliases:   []string{"h"},
		Usage:     "Shows a list of commands or help for one command",
		ArgsUsage: "[command]",
		HideHelp:  true,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			topic, words := cmd.Root(), cmd.Args().Slice()
			for _, word := range words {
				next := topic.Command(word)
				if next == nil {
					return unknownCommand(topic, word)
				}
				topic = next
			}
			switch {
			case len(words) == 0:
				return cli.ShowRootCommandHelp(topic)
			case len(topic.Commands) > 0:
				return cli.ShowSubcommandHelp(topic)
			}
			return cli.ShowCommandHelp(ctx, topic.Lineage()[1], topic.Name)
		},
	}
}

// helpOfItself shows the help of a command that has an argument before --help: to the library that
// is the name of a topic.
func helpOfItself(ctx context.Context, cmd *cli.Command, _ string) {
	_ = cli.ShowCommandHelp(ctx, cmd.Lineage()[1], cmd.Name) // its parent has it
}

// describeCompletion gives the library's command, which the list of commands leaves out, our words.
func describeCompletion(cmd *cli.Command) {
	cmd.Usage = "print a completion script for a shell"
	cmd.Description = "bash (with the package bash-completion):  source <(valtrack completion bash)\n" +
		"zsh:   source <(valtrack completion zsh)\n" +
		"fish:  valtrack completion fish > ~/.config/fish/completions/valtrack.fish\n" +
		"pwsh:  valtrack completion pwsh > valtrack.ps1, and run it from your profile"
	cmd.Action = rejectUnknownCommand
	for _, shell := range cmd.Commands {
		shell.Usage = "for " + shell.Name
	}
}

// rejectUnknownCommand is the action of commands that only hold others: without
// a word it shows help, with an unknown one it is an error.
func rejectUnknownCommand(_ context.Context, cmd *cli.Command) error {
	if word := cmd.Args().First(); word != "" {
		return unknownCommand(cmd, word)
	}
	if cmd == cmd.Root() {
		return cli.ShowRootCommandHelp(cmd)
	}
	return cli.ShowSubcommandHelp(cmd)
}

func unknownCommand(parent *cli.Command, word string) error {
	var names []string
	for _, c := range parent.Commands {
		names = append(names, c.Name)
	}
	if near := nearest(word, names); near != "" {
		return usagef("unknown command %q; did you mean '%s %s'? See '%s --help'", word, parent.FullName(), near, parent.FullName())
	}
	return usagef("unknown command %q; see '%s --help'", word, parent.FullName())
}

// undefinedFlag is the start of the library's error for an unknown flag.
const undefinedFlag = "flag provided but not defined: "

// explainUsage turns the parser's error into one line, with a suggestion for a
// flag that does not exist.
func explainUsage(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	name, unknown := strings.CutPrefix(err.Error(), undefinedFlag)
	if !unknown {
		if bad := explainValue(cmd); bad != nil {
			return bad
		}
		return usagef("%w; see '%s --help'", err, cmd.FullName())
	}
	name = strings.TrimLeft(name, "-")
	var names []string
	for _, f := range visibleFlagsOf(cmd) {
		names = append(names, f.Names()[0])
	}
	if near := nearest(name, names); near != "" {
		return usagef("unknown flag --%s; did you mean --%s? See '%s --help'", name, near, cmd.FullName())
	}
	return usagef("unknown flag --%s; see '%s --help'", name, cmd.FullName())
}

// visibleFlagsOf lists a command's own and its ancestors' flags.
func visibleFlagsOf(cmd *cli.Command) []cli.Flag {
	var flags []cli.Flag
	for _, c := range cmd.Lineage() {
		flags = append(flags, c.VisibleFlags()...)
	}
	return flags
}

// flagLine is a flag's line in help: every name with the word value where it
// takes one, then the usage and the default.
func flagLine(f cli.Flag) string {
	doc, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return strings.Join(f.Names(), ", ")
	}
	var names []string
	for _, name := range f.Names() {
		if name == flagNATSURL {
			continue // an alias for old scripts
		}
		dash := "--"
		if len(name) == 1 {
			dash = "-"
		}
		name = dash + name
		if doc.TakesValue() {
			name += " value"
		}
		names = append(names, name)
	}
	usage := doc.GetUsage()
	switch value := doc.GetValue(); {
	case doc.GetDefaultText() != "":
		usage += " (default: " + doc.GetDefaultText() + ")"
	case !doc.TakesValue() || value == "" || value == `""` || value == "0" || value == "0s":
	case doc.TypeName() == "string":
		usage += ` (default: "` + strings.Trim(value, `"`) + `")`
	default:
		usage += " (default: " + value + ")"
	}
	return strings.Join(names, ", ") + "\t" + strings.Join(wrapped(usage, usageWidth), "\n\t")
}

// usageWidth is how wide the texts of options are in help.
const usageWidth = 98

// wrapped breaks a text between words into lines of at most so many characters.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
