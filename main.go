// Command valtrack tracks the validators of an Ethereum consensus network by
// visiting its beacon nodes.
package main

import (
	"context"
	"os"

	"github.com/chainbound/valtrack/internal/cli"
)

func main() {
	err := cli.Main(context.Background(), os.Args, os.Stdout, os.Stderr)
	os.Exit(cli.ExitCode(err))
}
