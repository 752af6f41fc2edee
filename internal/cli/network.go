package cli

import (
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// devnetName as a value of --network means the simulated network in this process.
const devnetName = "devnet"

// network loads the network of --network or --network-dir, with --bootnode in
// place of its bootnodes, and logs its warnings. Errors are of wrong usage.
func (in invocation) network() (network.Network, error) {
	net, err := in.readNetwork()
	if err != nil || len(net.Warnings) == 0 {
		return net, err
	}
	log, err := in.logger(in.stderr)
	if err != nil {
		return net, err
	}
	for _, warning := range net.Warnings {
		log.Warn("check the network directory", slog.String("dir", in.cmd.String(flagNetworkDir)), slog.String("warning", warning))
	}
	return net, nil
}

// readNetwork is network, and leaves its warnings to the caller.
func (in invocation) readNetwork() (network.Network, error) {
	net, err := in.loadNetwork()
	if err != nil {
		return network.Network{}, asUsage(err)
	}
	if nodes := in.cmd.StringSlice(flagBootnode); len(nodes) > 0 {
		net.Bootnodes = nil
		for _, text := range nodes {
			r, err := enr.Parse(text)
			if err != nil {
				return network.Network{}, usagef("--%s %q: %w", flagBootnode, text, err)
			}
			net.Bootnodes = append(net.Bootnodes, r.Raw)
		}
	}
	return net, nil
}

func (in invocation) loadNetwork() (network.Network, error) {
	name := in.cmd.String(flagNetwork)
	if dir := in.cmd.String(flagNetworkDir); dir != "" {
		if !in.cmd.IsSet(flagNetwork) {
			name = "" // the directory's own
		}
		if info, err := os.Stat(dir); err != nil {
			return network.Network{}, usagef("--%s: %w", flagNetworkDir, err)
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
		return network.Network{}, usagef("--%s %s: there is no devnet here; 'valtrack run --network devnet' holds one itself, "+
			"and for one that 'valtrack devnet' started give --%s DIR with the directory that it printed", flagNetwork, devnetName, flagNetworkDir)
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
