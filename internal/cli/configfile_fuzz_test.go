package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/telemetry"
)

// FuzzConfigFile: a configuration file is applied, or is an error of the user.
func FuzzConfigFile(f *testing.F) {
	f.Add([]byte("data-dir: ./data\nlisten: [0.0.0.0, '::']\nport: 9000\n"))
	f.Add([]byte("---\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("# nothing\n"))
	f.Add([]byte("umask: !!binary 077\n? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		p := &program{stdout: io.Discard, stderr: telemetry.NewLogWriter(io.Discard)}
		root := p.root()
		if err := root.Run(context.Background(), []string{"valtrack", "version"}); err != nil {
			t.Fatal(err)
		}
		var bad *app.ConfigError
		if err := applyConfigFile(root, path); err != nil && !errors.As(asUsage(err), &bad) {
			t.Errorf("%v", err)
		}
	})
}
