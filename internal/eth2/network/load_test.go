package network_test

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

const (
	minimalConfig = "CONFIG_NAME: testnet\nGENESIS_FORK_VERSION: 0x10000038\nSECONDS_PER_SLOT: 6\n"
	rootText      = "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95\n"
	// EIP-778's example record.
	exampleENR = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8"
)

// files makes a network directory of name, content pairs over a complete one. An
// empty content leaves the file out.
func files(pairs ...string) fstest.MapFS {
	dir := fstest.MapFS{}
	all := append([]string{
		"config.yaml", minimalConfig,
		"genesis_validators_root.txt", rootText,
		"genesis_time.txt", "1700000000\n",
	}, pairs...)
	for i := 0; i < len(all); i += 2 {
		delete(dir, all[i])
		if all[i+1] != "" {
			dir[all[i]] = &fstest.MapFile{Data: []byte(all[i+1])}
		}
	}
	return dir
}

func genesisState(seconds uint64, root byte, rest int) string {
	b := binary.LittleEndian.AppendUint64(nil, seconds)
	b = append(b, strings.Repeat(string(rune(root)), 32)...)
	return string(append(b, make([]byte, rest)...))
}

func TestLoadFSMinimal(t *testing.T) {
	n, err := network.LoadFS(files(), "")
	if err != nil {
		t.Fatal(err)
	}
	genesis := time.Unix(1700000000, 0).UTC()
	if n.Name != "testnet" || len(n.Bootnodes) != 0 || len(n.Schedule.Periods) != 1 {
		t.Errorf("name %q, bootnodes %v, periods %v", n.Name, n.Bootnodes, n.Schedule.Periods)
	}
	if diff := cmp.Diff(eth2.Clock{Genesis: genesis, SlotDuration: 6 * time.Second, SlotsPerEpoch: 32}, n.Clock); diff != "" {
		t.Errorf("clock (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]eth2.Fork{{Name: "phase0", Version: eth2.Version{0x10, 0, 0, 0x38}}}, n.Forks); diff != "" {
		t.Errorf("forks (-want +got):\n%s", diff)
	}
	if n, err := network.LoadFS(files(), "mine"); err != nil || n.Name != "mine" {
		t.Errorf("name %q, %v: want the one given", n.Name, err)
	}
}

func TestLoadFSGenesis(t *testing.T) {
	state := genesisState(1650000000, 'r', 1<<20)
	minTime := minimalConfig + "MIN_GENESIS_TIME: 1600000000\nGENESIS_DELAY: 30\n"
	for _, tt := range []struct {
		name  string
		dir   fstest.MapFS
		time  int64
		first byte
	}{
		{"text files win", files("genesis.ssz", state), 1700000000, 0x4b},
		{"state alone", files("genesis.ssz", state, "genesis_time.txt", "", "genesis_validators_root.txt", ""), 1650000000, 'r'},
		{"state and root file", files("genesis.ssz", state, "genesis_time.txt", "", "config.yaml", minTime), 1650000000, 0x4b},
		{"time of the configuration", files("genesis_time.txt", "", "config.yaml", minTime), 1600000030, 0x4b},
		{"state of just the head", files("genesis.ssz", genesisState(1, 'r', 0), "genesis_time.txt", "", "genesis_validators_root.txt", ""), 1, 'r'},
		{"root without 0x", files("genesis_validators_root.txt", strings.TrimPrefix(rootText, "0x")), 1700000000, 0x4b},
	} {
		n, err := network.LoadFS(tt.dir, "")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if n.GenesisTime.Unix() != tt.time || n.GenesisValidatorsRoot[0] != tt.first {
			t.Errorf("%s: %v, %s: want %d, %#x...", tt.name, n.GenesisTime, n.GenesisValidatorsRoot, tt.time, tt.first)
		}
	}
}

func TestLoadFSBootnodes(t *testing.T) {
	for name, dir := range map[string]fstest.MapFS{
		"text":           files("bootstrap_nodes.txt", "# ours\n\n"+exampleENR+"  # first\r\n"),
		"YAML":           files("bootstrap_nodes.yaml", "# ours\n- "+exampleENR+" # first\n"),
		"quoted YAML":    files("bootstrap_nodes.yaml", "- \""+exampleENR+"\"\n"),
		"items in text":  files("bootstrap_nodes.txt", "- \""+exampleENR+"\"\n"),
		"text before it": files("bootstrap_nodes.txt", exampleENR, "bootstrap_nodes.yaml", "nonsense"),
	} {
		n, err := network.LoadFS(dir, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff([]string{exampleENR}, n.Bootnodes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, dir := range map[string]fstest.MapFS{
		"comments":   files("bootstrap_nodes.txt", "# none\n"),
		"empty YAML": files("bootstrap_nodes.yaml", "# none\n"),
		"empty list": files("bootstrap_nodes.yaml", "[]\n"),
		"null":       files("bootstrap_nodes.yaml", "null\n"),
	} {
		if n, err := network.LoadFS(dir, ""); err != nil || len(n.Bootnodes) != 0 {
			t.Errorf("%s: %v, %v: want none", name, n.Bootnodes, err)
		}
	}
}

// What a directory assumes counts; one without valtrack.yaml has what the embedded network
// of its name assumes.
func TestLoadFSAssumed(t *testing.T) {
	own := files("valtrack.yaml", "assumed_active_validators: 5_000\nassumed_in: 2027-01 # counted\n")
	for name, tt := range map[string]struct {
		dir  fstest.MapFS
		name string
		want network.Assumed
	}{
		"own":                   {own, "", network.Assumed{ActiveValidators: 5000, Month: "2027-01"}},
		"own over the name's":   {own, "hoodi", network.Assumed{ActiveValidators: 5000, Month: "2027-01"}},
		"the name's":            {files(), "hoodi", network.Assumed{ActiveValidators: 1_200_000, Month: "2026-11"}},
		"nothing":               {files(), "", network.Assumed{}},
		"a name that is a path": {files(), "../networks/hoodi", network.Assumed{}},
	} {
		if n, err := network.LoadFS(tt.dir, tt.name); err != nil || n.Assumed != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", name, n.Assumed, err, tt.want)
		}
	}
}

// An operator must see what to mend.
func TestLoadFSErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		dir  fstest.MapFS
		want []string
	}{
		{"no configuration", files("config.yaml", ""), []string{"config.yaml"}},
		{"no root", files("genesis_validators_root.txt", ""), []string{"genesis_validators_root.txt", "genesis.ssz"}},
		{"no time", files("genesis_time.txt", ""), []string{"genesis_time.txt", "genesis.ssz", "MIN_GENESIS_TIME"}},
		{"bad root", files("genesis_validators_root.txt", "0x4b36"), []string{"genesis_validators_root.txt", `"0x4b36"`}},
		{"bad time", files("genesis_time.txt", "soon"), []string{"genesis_time.txt", `"soon"`}},
		{"distant time", files("genesis_time.txt", "18446744073709551615"), []string{"genesis_time.txt", "18446744073709551615"}},
		{"short state", files("genesis.ssz", "abc"), []string{"genesis.ssz", "40 bytes"}},
		{"foreign state", files("genesis.ssz", strings.Repeat("\xff", 100)), []string{"genesis.ssz", "18446744073709551615"}},
		{"bad bootnode", files("bootstrap_nodes.txt", "# one\n"+exampleENR+"AAAA\n"), []string{"bootstrap_nodes.txt line 2", "enr:-IS4"}},
		{"bootnode of another kind", files("bootstrap_nodes.yaml", "- "+exampleENR+"\n- enode://abc@1.2.3.4:5\n"), []string{"bootstrap_nodes.yaml line 2", "enode://abc"}},
		{"no list of bootnodes", files("bootstrap_nodes.yaml", "nodes: 1\n"), []string{"bootstrap_nodes.yaml", "list"}},
		{"huge configuration", files("config.yaml", minimalConfig+strings.Repeat("#", 2<<20)), []string{"config.yaml", "over"}},
		{"huge root", files("genesis_validators_root.txt", strings.Repeat("0", 1<<20)), []string{"genesis_validators_root.txt", "over"}},
		{"nothing assumed", files("valtrack.yaml", "assumed_in: 2026-11\n"), []string{"valtrack.yaml", "assumed_active_validators"}},
		{"none assumed", files("valtrack.yaml", "assumed_active_validators: 0\nassumed_in: 2026-11\n"), []string{"valtrack.yaml line 1", `"0"`}},
		{"assumed at no time", files("valtrack.yaml", "assumed_active_validators: 5\nassumed_in: today\n"), []string{"valtrack.yaml line 2", `"today"`}},
		{"huge assumption", files("valtrack.yaml", strings.Repeat("#", 1<<20)), []string{"valtrack.yaml", "over"}},
		{"huge bootnodes", files("bootstrap_nodes.txt", strings.Repeat("#", 2<<20)), []string{"bootstrap_nodes.txt", "over"}},
	} {
		_, err := network.LoadFS(tt.dir, "")
		if err == nil {
			t.Errorf("%s: want an error", tt.name)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v: want it to name %s", tt.name, err, want)
			}
		}
	}
	if _, err := network.LoadFS(fstest.MapFS{}, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty directory: %v, want fs.ErrNotExist", err)
	}
}
