package cli

import (
	"fmt"
	"regexp"

	"github.com/urfave/cli/v3"
)

// The parser's errors for a value that it cannot read, from a source (the
// environment) and from the command line.
const (
	badSourceValue = `^could not parse "(.*)" as .* value from (.*) for flag ([^ ]+): `
	badFlagValue   = `^invalid value "(.*)" for flag -([^ ]+): `
)

// explainValue says of a value that does not parse which option it is of, where it
// came from and what is wanted; nil when err is of another kind.
func explainValue(cmd *cli.Command, err error) error {
	if m := regexp.MustCompile(badSourceValue).FindStringSubmatch(err.Error()); m != nil {
		return badValue(cmd, m[3], m[1], m[2])
	}
	if m := regexp.MustCompile(badFlagValue).FindStringSubmatch(err.Error()); m != nil {
		return badValue(cmd, m[2], m[1], "the command line")
	}
	return nil
}

func badValue(cmd *cli.Command, name, value, source string) error {
	want := "another kind of value"
	if f := findFlag(cmd.Root(), name); f != nil {
		name, want = f.Names()[0], wanted(f)
	}
	return usagef("--%s %q (from %s): want %s", name, value, source, want)
}

// findFlag looks for a flag in the whole command tree; nil when there is none.
func findFlag(root *cli.Command, name string) (found cli.Flag) {
	stop := fmt.Errorf("found")
	root.Walk(func(c *cli.Command) error { //nolint:errcheck // only ever stop
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				if n == name {
					found = f
					return stop
				}
			}
		}
		return nil
	})
	return found
}

// wanted says what values a flag takes.
func wanted(f cli.Flag) string {
	switch f.(type) {
	case *cli.IntFlag, *cli.Uint64Flag:
		return "a whole number"
	case *cli.DurationFlag:
		return "a time with its unit, such as 10s"
	case *cli.BoolFlag:
		return "true or false"
	}
	return "text"
}
