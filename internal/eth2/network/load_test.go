package network_test

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
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
	stateRoot := "0x" + strings.Repeat("72", 32) + "\n"
	minTime := minimalConfig + "MIN_GENESIS_TIME: 1600000000\nGENESIS_DELAY: 30\n"
	for _, tt := range []struct {
		name  string
		dir   fstest.MapFS
		time  int64
		first byte
	}{
		{"all files", files("genesis.ssz", state, "genesis_time.txt", "1650000000", "genesis_validators_root.txt", stateRoot), 1650000000, 'r'},
		{"state alone", files("genesis.ssz", state, "genesis_time.txt", "", "genesis_validators_root.txt", ""), 1650000000, 'r'},
		{"state and root file", files("genesis.ssz", state, "genesis_time.txt", "", "genesis_validators_root.txt", stateRoot, "config.yaml", minTime), 1650000000, 'r'},
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

const (
	lfsPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 5150\n"
	htmlPage   = "\r\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"
)

// What is of no use does not hide what is, and what is not used or not certain is said.
func TestLoadFSWarnings(t *testing.T) {
	nodes := exampleENR + "\n"
	guess := minimalConfig + "MIN_GENESIS_TIME: 1600000000\nGENESIS_DELAY: 30\n"
	for _, tt := range []struct {
		name string
		dir  fstest.MapFS
		time int64
		want []string // one for each warning
	}{
		{"nothing", files("bootstrap_nodes.txt", nodes), 1700000000, nil},
		{"pointer", files("genesis.ssz", lfsPointer, "bootstrap_nodes.txt", nodes), 1700000000, []string{"genesis.ssz: is a Git LFS pointer"}},
		{"page", files("genesis.ssz", htmlPage, "bootstrap_nodes.txt", nodes), 1700000000, []string{"genesis.ssz: is an HTML page"}},
		{"compressed", files("genesis.ssz", "\x1f\x8b\x08\x00\x00\x00\x00\x00"+strings.Repeat("\x01", 100), "bootstrap_nodes.txt", nodes), 1700000000, []string{"genesis.ssz: is compressed with gzip"}},
		{"short state", files("genesis.ssz", "abc", "bootstrap_nodes.txt", nodes), 1700000000, []string{"genesis.ssz: the first 40 bytes"}},
		{"empty state", files("genesis.ssz", "\n", "bootstrap_nodes.txt", nodes), 1700000000, []string{"genesis.ssz: the first 40 bytes"}},
		{"foreign state", files("genesis.ssz", strings.Repeat("\xff", 100), "bootstrap_nodes.txt", nodes), 1700000000, []string{`genesis.ssz: "18446744073709551615"`}},
		{"bad text beside a state", files("genesis.ssz", genesisState(1650000000, 'r', 0), "genesis_validators_root.txt", "0x12", "genesis_time.txt", htmlPage, "bootstrap_nodes.txt", nodes),
			1650000000, []string{`genesis_validators_root.txt: "0x12"`, "genesis_time.txt: is an HTML page"}},
		{"guessed time", files("genesis_time.txt", "", "config.yaml", guess, "bootstrap_nodes.txt", nodes), 1600000030, []string{"genesis time 1600000030 is a guess"}},
		{"guessed beside a pointer", files("genesis_time.txt", "", "genesis.ssz", lfsPointer, "config.yaml", guess, "bootstrap_nodes.txt", nodes),
			1600000030, []string{"genesis.ssz: is a Git LFS pointer", "is a guess"}},
		{"name of another network", files("config.yaml", "CONFIG_NAME: hoodi\n"+strings.TrimPrefix(minimalConfig, "CONFIG_NAME: testnet\n"), "bootstrap_nodes.txt", nodes),
			1700000000, []string{"CONFIG_NAME hoodi, but the genesis validators root is 0x4b363d"}},
		{"no bootnodes", files(), 1700000000, []string{"looked for ENRs in bootstrap_nodes.txt, bootstrap_nodes.yaml"}},
	} {
		n, err := network.LoadFS(tt.dir, "")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if n.GenesisTime.Unix() != tt.time || len(n.Warnings) != len(tt.want) {
			t.Errorf("%s: genesis %d, warnings %q: want %d, %q", tt.name, n.GenesisTime.Unix(), n.Warnings, tt.time, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(n.Warnings[i], want) {
				t.Errorf("%s: warning %q, want %q in it", tt.name, n.Warnings[i], want)
			}
		}
	}
}

// A published config.yaml and the root are enough for a network that is embedded: its
// genesis time is not MIN_GENESIS_TIME + GENESIS_DELAY.
func TestLoadFSEmbeddedGenesis(t *testing.T) {
	for _, name := range network.Names() {
		want, err := network.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(want.Warnings) > 0 {
			t.Errorf("%s: warnings %q", name, want.Warnings)
		}
		dir := fstest.MapFS{}
		for _, file := range []string{"config.yaml", "genesis_validators_root.txt", "bootstrap_nodes.txt"} {
			data, err := os.ReadFile("networks/" + name + "/" + file)
			if err != nil {
				t.Fatal(err)
			}
			dir[file] = &fstest.MapFile{Data: data}
		}
		got, err := network.LoadFS(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The records of a list are used whatever else is in it, and under each common name.
func TestLoadFSBootnodeLists(t *testing.T) {
	const second = "enr:-KG4QOtcP9X1FbIMOe17QNMKqDxCpm14jcX5tiOE4_TyMrFqbmhPZHK_ZPG2Gxb1GE2xdtodOfx9-cgvNtxnRyHEmC0ghGV0aDKQ9aX9QgAAAAD__________4JpZIJ2NIJpcIQDE8KdiXNlY3AyNTZrMaEDhpehBDbZjM_L9ek699Y7vhUJ-eAdMyQW_Fil522Y0fODdGNwgiMog3VkcIIjKA"
	both := []string{exampleENR, second}
	for name, tt := range map[string]struct {
		text string
		bad  []string // one for each warning
	}{
		"one bad line":    {exampleENR + "\n" + exampleENR + "AAAA\n" + second, []string{"bootnodes.txt line 2: ENR \"enr:-IS4"}},
		"enode among":     {exampleENR + "\nenode://abc@1.2.3.4:5\n" + second, []string{"bootnodes.txt line 2: ENR \"enode://abc"}},
		"YAML items":      {"# ours\n- " + exampleENR + " # first\n- \"" + second + "\"\n- enode://abc@1.2.3.4:5\n", []string{"bootnodes.txt line 4"}},
		"YAML under key":  {"bootnodes:\n  - '" + exampleENR + "'\n  - '" + second + "'\n", nil},
		"flow list":       {"[\"" + exampleENR + "\",\n \"" + second + "\"]\n", nil},
		"padding":         {exampleENR + "==\n" + second + "=\n", nil},
		"byte order mark": {"\ufeff" + exampleENR + "\n" + second, nil},
		"CRLF":            {exampleENR + "\r\n" + second + "\r\n", nil},
		"CR":              {exampleENR + "\r" + second + "\r", nil},
		"comma list":      {exampleENR + "," + second + "\n", nil},
		"comma and space": {"  " + exampleENR + " , " + second + ",\n", nil},
		"no prefix":       {strings.TrimPrefix(exampleENR, "enr:") + "\n" + second, nil},
		"twice":           {exampleENR + "\n" + second + "\n" + exampleENR, nil},
	} {
		for _, file := range network.BootnodeFiles() {
			n, err := network.LoadFS(files(file, tt.text), "")
			if err != nil {
				t.Errorf("%s in %s: %v", name, file, err)
				continue
			}
			if diff := cmp.Diff(both, n.Bootnodes); diff != "" {
				t.Errorf("%s in %s (-want +got):\n%s", name, file, diff)
			}
			if len(n.Warnings) != len(tt.bad) {
				t.Errorf("%s in %s: warnings %q, want %q", name, file, n.Warnings, tt.bad)
				continue
			}
			for i, bad := range tt.bad {
				if bad = strings.Replace(bad, "bootnodes.txt", file, 1); !strings.Contains(n.Warnings[i], bad) {
					t.Errorf("%s in %s: warning %q, want %q in it", name, file, n.Warnings[i], bad)
				}
			}
		}
	}
	n, err := network.LoadFS(files("bootstrap_nodes.txt", "", "bootstrap_nodes.yaml", "- "+exampleENR), "")
	if err != nil || len(n.Bootnodes) != 1 {
		t.Errorf("no text beside YAML: %v, %v", n.Bootnodes, err)
	}
	n, err = network.LoadFS(files("bootstrap_nodes.txt", "# none yet\n", "bootstrap_nodes.yaml", "- "+exampleENR), "")
	if err != nil || len(n.Bootnodes) != 1 || len(n.Warnings) != 0 {
		t.Errorf("empty text beside YAML: %v, %v, %v", n.Bootnodes, n.Warnings, err)
	}
	n, err = network.LoadFS(files("bootstrap_nodes.txt", lfsPointer, "boot_enr.yaml", "- "+exampleENR), "")
	if err != nil || len(n.Bootnodes) != 1 || len(n.Warnings) != 1 || !strings.Contains(n.Warnings[0], "Git LFS") {
		t.Errorf("pointer beside YAML: %v, %v, %v", n.Bootnodes, n.Warnings, err)
	}
}

// Files without any usable record.
func TestLoadFSNoBootnodes(t *testing.T) {
	for _, tt := range []struct {
		name string
		dir  fstest.MapFS
		want []string
	}{
		{"bad bootnode", files("bootstrap_nodes.txt", "# one\n"+exampleENR+"AAAA\n"), []string{"bootstrap_nodes.txt line 2", "enr:-IS4"}},
		{"bootnode of another kind", files("bootstrap_nodes.yaml", "- enode://abc@1.2.3.4:5\n"), []string{"bootstrap_nodes.yaml line 1", "enode://abc"}},
		{"no list of bootnodes", files("bootstrap_nodes.yaml", "nodes: 1\n"), []string{"bootstrap_nodes.yaml line 1", `"1"`}},
		{"huge bootnodes", files("bootstrap_nodes.txt", strings.Repeat("#", 2<<20)), []string{"bootstrap_nodes.txt", "over"}},
		{"many bad ones", files("bootstrap_nodes.txt", strings.Repeat("enr:-bad\n", 50)), []string{"bootstrap_nodes.txt line 10", "40 more"}},
	} {
		n, err := network.LoadFS(tt.dir, "")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		all := strings.Join(n.Warnings, "\n")
		for _, want := range append(tt.want, "looked for ENRs in bootstrap_nodes.txt") {
			if !strings.Contains(all, want) {
				t.Errorf("%s: warnings %q: want %q", tt.name, n.Warnings, want)
			}
		}
		if len(n.Bootnodes) != 0 || len(n.Warnings) > 20 || len(all) > 5000 {
			t.Errorf("%s: %d bootnodes, %d warnings of %d bytes", tt.name, len(n.Bootnodes), len(n.Warnings), len(all))
		}
	}
}

// FuzzBootnodes: outside text gives records or warnings, and each record is one.
func FuzzBootnodes(f *testing.F) {
	f.Add("- \"" + exampleENR + "\"\n")
	f.Add("\ufeff[" + exampleENR + "," + exampleENR + "==]\r\nenode://a@b")
	f.Add(lfsPointer)
	f.Fuzz(func(t *testing.T, text string) {
		n, err := network.LoadFS(files("bootstrap_nodes.yaml", text), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range n.Bootnodes {
			if r, err := enr.Parse(node); err != nil || r.Raw != node {
				t.Errorf("%q: %v", node, err)
			}
		}
		if len(n.Bootnodes) == 0 && len(n.Warnings) == 0 {
			t.Errorf("%q: no bootnodes and no word", text)
		}
	})
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
		{"short state", files("genesis_validators_root.txt", "", "genesis.ssz", "abc"), []string{"genesis.ssz", "40 bytes"}},
		{"foreign state", files("genesis_validators_root.txt", "", "genesis.ssz", strings.Repeat("\xff", 100)), []string{"genesis.ssz", "18446744073709551615"}},
		{"huge configuration", files("config.yaml", minimalConfig+strings.Repeat("#", 2<<20)), []string{"config.yaml", "over"}},
		{"huge root", files("genesis_validators_root.txt", strings.Repeat("0", 1<<20)), []string{"genesis_validators_root.txt", "over"}},
		{"nothing assumed", files("valtrack.yaml", "assumed_in: 2026-11\n"), []string{"valtrack.yaml", "assumed_active_validators"}},
		{"none assumed", files("valtrack.yaml", "assumed_active_validators: 0\nassumed_in: 2026-11\n"), []string{"valtrack.yaml line 1", `"0"`}},
		{"assumed at no time", files("valtrack.yaml", "assumed_active_validators: 5\nassumed_in: today\n"), []string{"valtrack.yaml line 2", `"today"`}},
		{"huge assumption", files("valtrack.yaml", strings.Repeat("#", 1<<20)), []string{"valtrack.yaml", "over"}},
		{"roots that differ", files("genesis.ssz", genesisState(1700000000, 'r', 0)), []string{"genesis_validators_root.txt has 0x4b363d", "genesis.ssz has 0x727272"}},
		{"times that differ", files("genesis.ssz", genesisState(1650000000, 'r', 0), "genesis_validators_root.txt", ""), []string{"genesis_time.txt has 1700000000", "genesis.ssz has 1650000000"}},
		{"pointer alone", files("genesis.ssz", lfsPointer, "genesis_validators_root.txt", ""), []string{"genesis.ssz", "Git LFS pointer", "genesis_validators_root.txt"}},
		{"pointer and no time", files("genesis.ssz", lfsPointer, "genesis_time.txt", ""), []string{"genesis.ssz", "Git LFS pointer", "genesis_time.txt"}},
		{"page as configuration", files("config.yaml", "<!DOCTYPE html>\n<html>"), []string{"config.yaml", "HTML page"}},
		{"UTF-16 configuration", files("config.yaml", "\xff\xfeC\x00O\x00"), []string{"config.yaml", "UTF-16"}},
		{"page as time", files("genesis_time.txt", "<html>", "config.yaml", minimalConfig+"MIN_GENESIS_TIME: 1600000000\n"), []string{"genesis_time.txt", "HTML page"}},
		{"mainnet at another time", files("config.yaml", "CONFIG_NAME: mainnet\n"+strings.Replace(minimalConfig, "CONFIG_NAME: testnet\n", "", 1)), []string{"genesis_time.txt", "1700000000", "config.yaml", "mainnet", "1606824023"}},
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
