package cli

import (
	"errors"
	"regexp"
	"strings"

	"github.com/urfave/cli/v3"
)

// checkedFlag is a flag that knows which value it could not parse: the parser's error
// has no type, and does not say what is wanted.
type checkedFlag[T, C any, V cli.ValueCreator[T, C]] struct {
	*cli.FlagBase[T, C, V]
	want     string
	optional bool // the value: without one the flag is "true"
	err      error
}

func checked[T, C any, V cli.ValueCreator[T, C]](f *cli.FlagBase[T, C, V], want string) *checkedFlag[T, C, V] {
	return &checkedFlag[T, C, V]{FlagBase: f, want: want}
}

// String is the flag's line in help.
func (f *checkedFlag[T, C, V]) String() string { return flagLine(f) }

// IsBoolFlag reports whether the flag may stand without a value.
func (f *checkedFlag[T, C, V]) IsBoolFlag() bool { return f.optional || f.FlagBase.IsBoolFlag() }

// TakesValue reports whether the argument after the flag is its value.
func (f *checkedFlag[T, C, V]) TakesValue() bool { return !f.optional && f.FlagBase.TakesValue() }

// Set is called with values of the command line and of the configuration file.
func (f *checkedFlag[T, C, V]) Set(name, value string) error {
	err := f.FlagBase.Set(name, value)
	if err != nil {
		f.err = f.badValue(value, "the command line")
	}
	return err
}

// PostParse reads the environment.
func (f *checkedFlag[T, C, V]) PostParse() error {
	err := f.FlagBase.PostParse()
	if err != nil {
		value, source, _ := f.Sources.LookupWithSource()
		f.err = f.badValue(value, source.String())
	}
	return err
}

func (f *checkedFlag[T, C, V]) badValue(value, source string) error {
	return usagef("--%s %q (from %s): want %s", f.Name, value, source, f.want)
}

// keepLocal keeps the flag from the command's subcommands.
func (f *checkedFlag[T, C, V]) keepLocal() { f.Local = true }

// wanted says what values the flag takes.
func (f *checkedFlag[T, C, V]) wanted() string { return f.want }

// valueError is the flag's value that could not be parsed, nil when there is none.
func (f *checkedFlag[T, C, V]) valueError() error { return f.err }

// explainValue says which option has a value that could not be parsed, where it came
// from and what is wanted; nil when there is none.
func explainValue(cmd *cli.Command) (bad error) {
	found := errors.New("found")
	cmd.Root().Walk(func(c *cli.Command) error { //nolint:errcheck // only ever found
		for _, f := range c.Flags {
			if f, ok := f.(interface{ valueError() error }); ok && f.valueError() != nil {
				bad = f.valueError()
				return found
			}
		}
		return nil
	})
	return bad
}

// wanted says what values a flag takes.
func wanted(f cli.Flag) string {
	if f, ok := f.(interface{ wanted() string }); ok {
		return f.wanted()
	}
	return "text"
}

// option is what an argument that names an option looks like. Negative numbers do not, nor node
// records without "enr:", which begin with one dash.
var option = regexp.MustCompile(`^(--[a-z]|-[a-z]$)`)

// missingValue refuses an option whose value looks like another option: the parser would take
// "--node --data-dir D" for a node of the name --data-dir.
func missingValue(root *cli.Command, args []string) error {
	takesValue := map[string]bool{}
	//nolint:errcheck // only the function's errors, of which there are none
	root.Walk(func(c *cli.Command) error {
		for _, f := range c.Flags {
			for _, name := range f.Names() {
				flag, ok := f.(interface{ TakesValue() bool })
				takesValue[name] = ok && flag.TakesValue()
			}
		}
		return nil
	})
	for i := 1; i < len(args) && args[i] != "--"; i++ {
		name := strings.TrimLeft(args[i], "-")
		if name == args[i] || !takesValue[name] {
			continue
		}
		if i++; i < len(args) && option.MatchString(args[i]) {
			return usagef("--%s has no value: %q after it is an option; to give such a value, write --%s=%s", name, args[i], name, args[i])
		}
	}
	return nil
}
