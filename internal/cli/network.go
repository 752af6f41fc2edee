package cli

import (
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// devnetName as a value of --network means the simulated network in this process.
const devnetName = "devnet"

// network loads the network of --network or --network-dir, with --bootnode in
// place of its bootnodes, and logs its warnings. Errors are of wrong usage.
func (in invocation) network() (network.Network, error) {
	net, err := in.readNetwork()
	if err != nil {
		return net, err
	}
	return net, in.logWarnings(net, in.cmd.String(flagNetworkDir))
}

// logWarnings logs what is questionable about a network's directory.
func (in invocation) logWarnings(net network.Network, dir string) error {
	if len(net.Warnings) == 0 {
		return nil
	}
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	for _, warning := range net.Warnings {
		log.Warn("check the network directory", slog.String("dir", dir), slog.String("warning", warning))
	}
	return nil
}

// readNetwork is network, and leaves its warnings to the caller.
func (in invocation) readNetwork() (network.Network, error) {
	net, err := in.loadNetwork()
	if err != nil {
		return network.Network{}, asUsage(err)
	}
	nodes, err := in.bootnodes()
	if len(nodes) > 0 {
		net.Bootnodes = nodes
	}
	return net, err
}

// bootnodes are those of --bootnode.
func (in invocation) bootnodes() ([]string, error) {
	var nodes []string
	for _, text := range in.cmd.StringSlice(flagBootnode) {
		r, err := enr.Parse(text)
		if err != nil {
			return nil, usagef("--%s %q: %w", flagBootnode, text, err)
		}
		nodes = append(nodes, r.Raw)
	}
	return nodes, nil
}

// dataNetwork is the network of a command that opens the data directory: that of --network
// or --network-dir or, without them, the one that the directory belongs to. It is not
// decided when the directory is new and no flag says it: then it is the default. Its
// warnings are logged. Errors are of wrong usage.
func (in invocation) dataNetwork() (n app.DirNetwork, decided bool, err error) {
	if n, decided, err = in.readDataNetwork(); err == nil {
		err = in.logWarnings(n.Network, n.Dir)
	}
	return n, decided, err
}

// readDataNetwork is dataNetwork, and leaves its warnings to the caller.
func (in invocation) readDataNetwork() (n app.DirNetwork, decided bool, err error) {
	name, dir := in.cmd.String(flagNetwork), in.cmd.String(flagNetworkDir)
	given := in.cmd.IsSet(flagNetwork) || dir != ""
	if !given || name == devnetName && dir == "" {
		n, known, err := app.NetworkOf(in.cmd.String(flagDataDir))
		if err != nil {
			return n, false, err
		}
		if known && (!given || n.Name == name) {
			bootnodes, err := in.bootnodes()
			if len(bootnodes) > 0 {
				n.Bootnodes = bootnodes
			}
			return n, true, err
		}
	}
	n.Network, err = in.readNetwork()
	n.Dir = dir
	return n, given, err
}

// usableNetwork is dataNetwork for a command that needs all of it.
func (in invocation) usableNetwork() (app.DirNetwork, error) {
	n, _, err := in.dataNetwork()
	if err == nil {
		err = n.Missing
	}
	return n, err
}

func (in invocation) loadNetwork() (network.Network, error) {
	name := in.cmd.String(flagNetwork)
	if dir := in.cmd.String(flagNetworkDir); dir != "" {
		if !in.cmd.IsSet(flagNetwork) {
			name = "" // the directory's own
		}
		if info, err := os.Stat(dir); err != nil {
			return network.Network{}, usagef("--%s: %w; want a directory with config.yaml, genesis_validators_root.txt, genesis_time.txt and bootstrap_nodes.txt", flagNetworkDir, err)
		} else if !info.IsDir() {
			return network.Network{}, usagef("--%s %q is not a directory", flagNetworkDir, dir)
		}
		net, err := network.LoadFS(os.DirFS(dir), name)
		if err != nil {
			return network.Network{}, usagef("--%s %q: %w", flagNetworkDir, dir, err)
		}
		return net, nil
	}
	if name == devnetName {
		return network.Network{}, usagef("--%s %s: there is no devnet here; 'valtrack run --network devnet' runs one itself, "+
			"and for one started by 'valtrack devnet' give --%s DIR with the directory it printed", flagNetwork, devnetName, flagNetworkDir)
	}
	if !slices.Contains(network.Names(), name) {
		return network.Network{}, usagef("--%s %q is unknown; the networks are %s and %s, or give --%s DIR",
			flagNetwork, name, strings.Join(network.Names(), ", "), devnetName, flagNetworkDir)
	}
	return network.Load(name)
}

// allPrivate reports whether there are bootnodes and none has an address that is
// globally reachable: then the network is one on this machine or in this house.
func allPrivate(bootnodes []string) bool {
	for _, text := range bootnodes {
		r, err := enr.Parse(text)
		if err != nil {
			return false
		}
		for _, addr := range []netip.Addr{r.IP4, r.IP6} {
			if enr.GloballyReachable(addr) {
				return false
			}
		}
	}
	return len(bootnodes) > 0
}
