package devnet

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
)

// profile is how one client kind behaves, as its code of 2026 has it.
type profile struct {
	kind  eth2.ClientKind
	share float64 // of the network's nodes
	// yamux and mplex are the muxers spoken over TCP.
	yamux, mplex bool
	// quic is the chance that a node has a QUIC port.
	quic   float64
	window window
	// longLived gives the long-lived attestation subnets at an epoch.
	longLived func(eth2.NodeID, eth2.Epoch) []int
	// allSubnetsInMetaData: --subscribe-all-subnets shows in MetaData and ENR.
	allSubnetsInMetaData bool
	// forkLead is how many epochs before a fork the new topics are joined, and
	// after it the old ones left.
	forkLead eth2.Epoch
	// needsStatus: a dialer that sends no Status is sent away with goodbye 3.
	needsStatus bool
	// needsStatusV2: Status version 1 is irrelevant from Fulu on.
	needsStatusV2 bool
	// onlyNewest: only status/2 and metadata/3 are spoken.
	onlyNewest bool
	// strictProtocols: a peer without ping or metadata is sent away (the
	// Lighthouse family's UnsupportedProtocol is fatal).
	strictProtocols bool
	// rpcPerTopic: the hello comes as one RPC a topic, as rust-libp2p sends it.
	rpcPerTopic bool
	// sendsStatus: it asks for Status also when it was dialed.
	sendsStatus bool
	// omitsExternal: validators of an external validator client are not in the
	// custody group count.
	omitsExternal bool
	releases      []string
	// platform: the agent string has the operating system and architecture.
	platform bool
	// agent gives the agent string, and the version as it stands in it.
	agent func(release, os, arch string, r *rand.Rand) (agent, version string)
}

// profiles of the clients. Shares are those of the estimator's assumed mix.
func profiles() []profile {
	return []profile{
		{
			kind: eth2.ClientLighthouse, share: 0.45, yamux: true, quic: 0.9, window: windowBefore(1),
			longLived: staticSubnets, allSubnetsInMetaData: true, forkLead: 1, strictProtocols: true, rpcPerTopic: true,
			releases: []string{"v8.0.0", "v8.0.1", "v8.1.0", "v8.1.1"}, platform: true,
			agent: func(release, os, arch string, r *rand.Rand) (string, string) {
				version := release + "-" + commit(r, 7)
				return fmt.Sprintf("Lighthouse/%s/%s-%s", version, arch, os), version
			},
		},
		{
			kind: eth2.ClientPrysm, share: 0.20, yamux: true, mplex: true, quic: 0.8, window: windowFromEpochStart,
			longLived: eth2.ComputeSubscribedSubnets, allSubnetsInMetaData: true, forkLead: 1, needsStatus: true, onlyNewest: true,
			releases: []string{"v7.0.0", "v7.1.0", "v7.1.8"},
			agent: func(release, _, _ string, r *rand.Rand) (string, string) {
				return fmt.Sprintf("Prysm/%s/%s", release, commit(r, 40)), release
			},
		},
		{
			kind: eth2.ClientTeku, share: 0.12, mplex: true, quic: 0.3, window: windowFromEpochBefore,
			longLived: eth2.ComputeSubscribedSubnets, allSubnetsInMetaData: true, forkLead: 1, needsStatus: true,
			releases: []string{"v26.6.0", "v26.8.0"}, platform: true,
			agent: func(release, os, arch string, _ *rand.Rand) (string, string) {
				return fmt.Sprintf("teku/teku/%s/%s-%s/-eclipseadoptium-openjdk64bitservervm-java-21", release, os, arch), release
			},
		},
		{
			kind: eth2.ClientNimbus, share: 0.12, yamux: true, mplex: true, window: windowBefore(3),
			longLived: eth2.ComputeSubscribedSubnets, allSubnetsInMetaData: true, forkLead: 1,
			sendsStatus: true, omitsExternal: true,
			releases: []string{""},
			agent:    func(string, string, string, *rand.Rand) (string, string) { return "nimbus", "" },
		},
		{
			kind: eth2.ClientLodestar, share: 0.06, mplex: true, quic: 0.5, window: windowBefore(2),
			longLived: lodestarSubnets, forkLead: 2, needsStatusV2: true,
			releases: []string{"v1.43.0", "v1.44.0"},
			agent: func(release, _, _ string, r *rand.Rand) (string, string) {
				return fmt.Sprintf("lodestar/%s/%s", release, commit(r, 7)), release
			},
		},
		{
			kind: eth2.ClientGrandine, share: 0.05, yamux: true, quic: 0.9, window: windowBefore(1),
			longLived: eth2.ComputeSubscribedSubnets, allSubnetsInMetaData: true, forkLead: 1, strictProtocols: true, rpcPerTopic: true,
			releases: []string{"2.0.0", "2.0.1"}, platform: true,
			agent: func(release, os, arch string, r *rand.Rand) (string, string) {
				version := release + "-" + commit(r, 7)
				return fmt.Sprintf("Grandine/%s/%s-%s", version, arch, os), version
			},
		},
	}
}

// profilesOf keeps the profiles of the kinds; nil keeps all.
func profilesOf(kinds []eth2.ClientKind) ([]profile, error) {
	all := profiles()
	if kinds == nil {
		return all, nil
	}
	var out []profile
	for _, kind := range kinds {
		i := slices.IndexFunc(all, func(p profile) bool { return p.kind == kind })
		if i < 0 {
			return nil, &ConfigError{"Clients", kind, "want " + kindNames(all)}
		}
		out = append(out, all[i])
	}
	if len(out) == 0 {
		return nil, &ConfigError{"Clients", kinds, "want at least one kind"}
	}
	return out, nil
}

// kindNames joins the names of the profiles' kinds.
func kindNames(list []profile) string {
	var names []string
	for _, p := range list {
		names = append(names, string(p.kind))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// pick draws a profile by share. The first len(list) nodes get one of each, so
// that small networks have every client.
func pick(list []profile, index int, r *rand.Rand) profile {
	if index < len(list) {
		return list[index]
	}
	total := 0.0
	for _, p := range list {
		total += p.share
	}
	x := r.Float64() * total
	for _, p := range list {
		if x -= p.share; x < 0 {
			return p
		}
	}
	return list[len(list)-1]
}

// staticSubnets is Lighthouse's rule, which does not rotate.
func staticSubnets(id eth2.NodeID, _ eth2.Epoch) []int { return eth2.LighthouseSubnets(id) }

// lodestarSubnets is Lodestar's: the spec function, recomputed when the epoch is a
// multiple of 256.
func lodestarSubnets(id eth2.NodeID, e eth2.Epoch) []int {
	return eth2.ComputeSubscribedSubnets(id, e-e%eth2.EpochsPerSubnetPeriod)
}

// commit is n hex digits.
func commit(r *rand.Rand, n int) string {
	b := make([]byte, (n+1)/2)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return hex.EncodeToString(b)[:n]
}
