package cli

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v3"
)

func (p *program) versionCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "version", Usage: "print version, commit and Go version",
		Flags: []cli.Flag{jsonFlag()},
	}, func(_ context.Context, in invocation) error {
		if err := in.noArguments(); err != nil {
			return err
		}
		return in.print(readBuild())
	})
}

// build is `version --json`.
type build struct {
	Version string `json:"version"` // "devel" when not built from a tagged module
	Commit  string `json:"commit"`  // empty when built outside a repository; "-dirty" follows when files had changed
	Go      string `json:"go"`
}

// readBuild takes what the go command recorded in the binary.
func readBuild() build {
	b := build{Version: "devel", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	dirty := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty && b.Commit != "" {
		b.Commit += "-dirty"
	}
	return b
}

// programName names this build to others: in events, in our node record, and in our agent.
func programName() string { return "valtrack/" + readBuild().Version }
