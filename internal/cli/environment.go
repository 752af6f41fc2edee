package cli

import (
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/crashpoint"
)

// variablePrefix begins the environment variable of every option.
const variablePrefix = "VALTRACK_"

// variableOf is the environment variable of a flag.
func variableOf(name string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// variable is an environment variable as a source of a flag's value. An empty one counts
// as unset, as files of container environments write it.
type variable struct{ cli.ValueSource }

// Lookup implements cli.ValueSource.
func (v variable) Lookup() (string, bool) {
	value, _ := v.ValueSource.Lookup()
	return value, value != ""
}

// variables are the sources of a flag; the first that is set has the value.
func variables(names ...string) (chain cli.ValueSourceChain) {
	for _, name := range names {
		chain.Chain = append(chain.Chain, variable{cli.EnvVar(name)})
	}
	return chain
}

// warnUnknownVariables logs the variables with our prefix that are of no option: what
// they should set is not set. They are no error, since Kubernetes adds such variables for
// a service with our name.
func (in invocation) warnUnknownVariables() {
	known := in.variables()
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, variablePrefix) || value == "" || slices.Contains(known, name) {
			continue
		}
		log, err := in.logger(in.stderr)
		if err != nil {
			return // the command reports it
		}
		hint := "'valtrack COMMAND --help' lists the options, each of which has a variable"
		if near := nearest(name, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		log.Warn("an environment variable matches no option and has no effect", slog.String("name", name), slog.String("hint", hint))
	}
}

// variables lists the variables of all options.
func (in invocation) variables() []string {
	var known []string
	//nolint:errcheck // only the function's errors, of which there are none
	in.cmd.Root().Walk(func(c *cli.Command) error {
		for _, f := range c.Flags {
			known = append(known, variableOf(f.Names()[0]))
		}
		return nil
	})
	return append(known, clickhousePassword, crashpoint.Env) // the last is of test builds
}
