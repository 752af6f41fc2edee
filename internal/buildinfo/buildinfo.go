// Package buildinfo says which build of the program runs.
package buildinfo

import (
	"runtime"
	"runtime/debug"
	"sync"
)

// Build is what the go command recorded in the binary.
type Build struct {
	Version string `json:"version"` // "devel" when not built from a tagged module
	Commit  string `json:"commit"`  // empty when built outside a repository; "-dirty" follows when files had changed
	Go      string `json:"go"`
}

// String is the version, with the commit if it is known.
func (b Build) String() string {
	if b.Commit == "" {
		return b.Version
	}
	return b.Version + " (" + b.Commit + ")"
}

// Read is that of this program.
var Read = sync.OnceValue(func() Build {
	b := Build{Version: "devel", Go: runtime.Version()}
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
})
