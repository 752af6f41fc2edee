package network_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// vector is one network of fork_digests.json.
type vector struct {
	GenesisValidatorsRoot eth2.Root `json:"genesis_validators_root"`
	GenesisTime           int64     `json:"genesis_time"`
	SlotsPerEpoch         uint64    `json:"slots_per_epoch"`
	SecondsPerSlot        int64     `json:"seconds_per_slot"`
	Periods               []period
}

type period struct {
	Name        string
	FirstEpoch  eth2.Epoch      `json:"first_epoch"`
	LastEpoch   *eth2.Epoch     `json:"last_epoch"`
	ForkVersion eth2.Version    `json:"fork_version"`
	Digest      eth2.ForkDigest `json:"digest"`
	StartUnix   int64           `json:"start_unix"`
	BlobParams  *[2]uint64      `json:"blob_params"`
}

func readVectors(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile("../testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// load gives an embedded network, or the one in testdata.
func load(t *testing.T, name string) network.Network {
	t.Helper()
	n, err := network.Load(name)
	if !slices.Contains(network.Names(), name) {
		n, err = network.LoadFS(os.DirFS("testdata/"+name), "")
	}
	if err != nil {
		t.Fatal(err)
	}
	if n.Name != name {
		t.Errorf("name %q, want %q", n.Name, name)
	}
	return n
}

func TestNetworkVectors(t *testing.T) {
	var file struct{ Networks map[string]vector }
	readVectors(t, "fork_digests.json", &file)
	for _, name := range append(network.Names(), "plataberget") {
		if _, ok := file.Networks[name]; !ok {
			t.Errorf("fork_digests.json lacks %s", name)
		}
	}
	for name, want := range file.Networks {
		t.Run(name, func(t *testing.T) {
			n := load(t, name)
			if n.GenesisValidatorsRoot != want.GenesisValidatorsRoot || n.GenesisTime.Unix() != want.GenesisTime {
				t.Errorf("genesis %s at %v: want %s at %d", n.GenesisValidatorsRoot, n.GenesisTime, want.GenesisValidatorsRoot, want.GenesisTime)
			}
			clock := eth2.Clock{Genesis: time.Unix(want.GenesisTime, 0).UTC(), SlotDuration: time.Duration(want.SecondsPerSlot) * time.Second, SlotsPerEpoch: want.SlotsPerEpoch}
			if diff := cmp.Diff(clock, n.Clock); diff != "" {
				t.Errorf("clock (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want.Periods, periods(n)); diff != "" {
				t.Errorf("periods (-want +got):\n%s", diff)
			}
		})
	}
}

// periods gives a network's schedule in the form of the vectors.
func periods(n network.Network) []period {
	var out []period
	for i, p := range n.Schedule.Periods {
		v := period{Name: p.Name, FirstEpoch: p.FirstEpoch, ForkVersion: p.ForkVersion, Digest: p.Digest, StartUnix: n.Clock.EpochStart(p.FirstEpoch).Unix()}
		if p.BlobParams != nil {
			v.BlobParams = &[2]uint64{uint64(p.BlobParams.Epoch), p.BlobParams.MaxBlobsPerBlock}
		}
		if i > 0 {
			last := p.FirstEpoch - 1
			out[i-1].LastEpoch = &last
		}
		out = append(out, v)
	}
	return out
}

// The record entries that a node of each period publishes.
func TestForkIDVectors(t *testing.T) {
	var file struct {
		Eth2 []struct {
			Network    string
			FirstEpoch eth2.Epoch `json:"first_epoch"`
			Eth2       string
			NFD        eth2.ForkDigest
		}
	}
	readVectors(t, "enr_fields.json", &file)
	vectors := make(map[string]int) // by network
	for _, v := range file.Eth2 {
		n := load(t, v.Network)
		vectors[v.Network]++
		epochs := []eth2.Epoch{v.FirstEpoch}
		if next, ok := n.Schedule.Next(v.FirstEpoch); ok {
			epochs = append(epochs, next.FirstEpoch-1)
		}
		for _, e := range epochs {
			id, nfd := n.Schedule.ForkID(e)
			if got := hex.EncodeToString(id.MarshalSSZ()); got != v.Eth2 || nfd != v.NFD {
				t.Errorf("%s epoch %d: eth2 %s nfd %s, want %s %s", v.Network, e, got, nfd, v.Eth2, v.NFD)
			}
		}
	}
	if len(vectors) < 6 {
		t.Errorf("vectors of %d networks: want 6 or more", len(vectors))
	}
	for name, have := range vectors {
		if want := len(load(t, name).Schedule.Periods); have != want {
			t.Errorf("%s: %d vectors, want one for each of its %d periods", name, have, want)
		}
	}
}

// Whatever the date of Gloas on mainnet, its digest is known for the blob parameters
// of today.
func TestMainnetGloas(t *testing.T) {
	n := load(t, "mainnet")
	i := slices.IndexFunc(n.Forks, func(f eth2.Fork) bool { return f.Name == "gloas" })
	if i < 0 || n.Forks[i].Version != (eth2.Version{7}) {
		t.Fatalf("forks %+v: want gloas with version 7", n.Forks)
	}
	forks := slices.Clone(n.Forks[:i+1])
	forks[i].Epoch = 600000
	blobs := []eth2.BlobParameters{{Epoch: 412672, MaxBlobsPerBlock: 15}, {Epoch: 419072, MaxBlobsPerBlock: 21}}
	s, err := eth2.NewSchedule(n.GenesisValidatorsRoot, forks, blobs, 9)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.At(600000).Digest.String(); got != "0xce2153ed" {
		t.Errorf("digest %s, want 0xce2153ed", got)
	}
}

// A fork whose name is unknown would be ignored, and every digest after it wrong.
func TestEmbeddedForks(t *testing.T) {
	scheduled := regexp.MustCompile(`(?m)^(\w+)_FORK_EPOCH: *(\d+)`)
	for _, name := range network.Names() {
		config, err := os.ReadFile("networks/" + name + "/config.yaml")
		if err != nil {
			t.Fatal(err)
		}
		known := make(map[string]string)
		for _, f := range load(t, name).Forks {
			known[f.Name] = strconv.FormatUint(uint64(f.Epoch), 10)
		}
		for _, m := range scheduled.FindAllStringSubmatch(string(config), -1) {
			if epoch, ok := known[strings.ToLower(m[1])]; !ok || epoch != m[2] {
				t.Errorf("%s: config.yaml has %s at epoch %s, the schedule has it at %q", name, m[1], m[2], epoch)
			}
		}
	}
}

func TestEmbeddedBootnodes(t *testing.T) {
	for _, name := range network.Names() {
		n := load(t, name)
		if len(n.Bootnodes) < 5 {
			t.Errorf("%s: %d bootnodes", name, len(n.Bootnodes))
		}
		seen := make(map[eth2.NodeID]bool)
		for _, text := range n.Bootnodes {
			r, err := enr.Parse(text) // verifies the signature
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if len(r.Errors) > 0 || seen[r.NodeID] || !r.IP4.IsValid() || r.UDP == 0 {
				t.Errorf("%s: %s: errors %v, listed before: %v, %s:%d", name, text, r.Errors, seen[r.NodeID], r.IP4, r.UDP)
			}
			seen[r.NodeID] = true
		}
	}
}

func TestEmbeddedPresets(t *testing.T) {
	for _, name := range network.Names() {
		n := load(t, name)
		if n.MaxCommitteesPerSlot != 64 || n.TargetCommitteeSize != 128 {
			t.Errorf("%s: %d committees of %d, want 64 of 128", name, n.MaxCommitteesPerSlot, n.TargetCommitteeSize)
		}
		if want := map[string]uint64{"gnosis": 512, "chiado": 512}[name]; n.EpochsPerSyncCommitteePeriod != max(want, 256) || n.SyncCommitteeSize != 512 {
			t.Errorf("%s: sync committees of %d for %d epochs", name, n.SyncCommitteeSize, n.EpochsPerSyncCommitteePeriod)
		}
	}
}

// Estimates on the embedded networks need no flag.
func TestEmbeddedAssumptions(t *testing.T) {
	for name, want := range map[string]uint64{"mainnet": 950_000, "hoodi": 1_200_000, "gnosis": 300_000, "chiado": 100_000, "sepolia": 1_900} {
		if n := load(t, name); n.Assumed != (network.Assumed{ActiveValidators: want, Month: "2026-11"}) {
			t.Errorf("%s: %+v, want %d", name, n.Assumed, want)
		}
	}
	for _, name := range network.Names() {
		if n := load(t, name); n.Assumed.ActiveValidators == 0 {
			t.Errorf("%s has no valtrack.yaml", name)
		}
	}
}

func TestLoadUnknown(t *testing.T) {
	for _, name := range []string{"", "Mainnet", "goerli", "../networks/mainnet"} {
		_, err := network.Load(name)
		if err == nil || !strings.Contains(err.Error(), strings.Join(network.Names(), ", ")) {
			t.Errorf("%q: %v, want an error that lists the names", name, err)
		}
	}
}
