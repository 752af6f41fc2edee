package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/chainbound/valtrack/internal/devnet"
)

// simulated is a devnet in its own process.
type simulated struct {
	*process
	dir       string
	digest    string // fork digest
	reachable int    // nodes that can complete a handshake
}

// startNetwork starts a devnet of n nodes, with mainnet's slots; it is up when this returns.
func startNetwork(ctx context.Context, o options, dir, faults string, n int) (*simulated, error) {
	p, err := launch(ctx, o.verbose, o.valtrack, "devnet", "--json", "--devnet-dir", dir, "--devnet-faults", faults,
		"--devnet-nodes", strconv.Itoa(n), "--devnet-slot", mainnetSlot.String())
	if err != nil {
		return nil, err
	}
	var view struct {
		Reachable  int    `json:"reachable"`
		ForkDigest string `json:"fork_digest"`
	}
	if err := json.NewDecoder(p.stdout).Decode(&view); err != nil {
		return nil, fmt.Errorf("start the devnet: %w\n%s", err, p.stderr.Bytes())
	}
	return &simulated{process: p, dir: dir, digest: view.ForkDigest, reachable: view.Reachable}, nil
}

// loadTruth reads the nodes of a devnet's directory.
func loadTruth(dir string) ([]devnet.Node, error) {
	b, err := os.ReadFile(filepath.Join(dir, devnet.TruthFile))
	if err != nil {
		return nil, err
	}
	var doc struct {
		Nodes []devnet.Node `json:"nodes"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", devnet.TruthFile, err)
	}
	return doc.Nodes, nil
}
