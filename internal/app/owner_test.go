package app

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/network"
)

// A directory refuses another network of the same name: one with another genesis root, and
// one with the same root that began at another time, as a devnet does at each start. The
// simulated network of the process itself may begin again.
func TestAnotherNetworkOfTheSameName(t *testing.T) {
	net := network.Network{Name: "devnet", GenesisTime: time.Unix(1_795_000_000, 0)}
	net.GenesisValidatorsRoot[0] = 1
	later, other, unknown := net, net, net
	unknown.GenesisTime = time.Time{}
	later.GenesisTime = net.GenesisTime.Add(time.Hour)
	other.GenesisValidatorsRoot[0] = 2
	for _, first := range []DirUse{{Sentry: true, Network: net}, {Consumer: true, Network: net}} {
		dir := filepath.Join(t.TempDir(), "data")
		open := func(net network.Network) error {
			use := first
			use.Network = net
			d, err := openDataDir(dir, use)
			if err == nil {
				err = d.close()
			}
			return err
		}
		for i, c := range []struct {
			net  network.Network
			want string
		}{
			{net, ""}, {net, ""}, {unknown, ""}, {net, ""},
			{later, "began at 2026-11-18T11:06:40Z, while this one began at 2026-11-18T12:06:40Z"}, {other, "genesis validators root"}, {net, ""},
		} {
			err := open(c.net)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("step %d: %v, want %q", i, err, c.want)
			}
		}
	}
}

// The network that a process simulates begins now: it is not the one that others gave.
func TestASimulatedNetworkIsAnother(t *testing.T) {
	dir := t.TempDir()
	given := network.Network{Name: "devnet", GenesisTime: time.Unix(1_795_000_000, 0)}
	d, err := openDataDir(dir, DirUse{Sentry: true, Network: given, NetworkDir: "/given"})
	if err == nil {
		err = d.close()
	}
	if err != nil {
		t.Fatal(err)
	}
	given.GenesisTime = time.Time{}
	if _, err := openDataDir(dir, DirUse{Sentry: true, Network: given, NetworkDir: filepath.Join(dir, "devnet"), Simulated: true}); err == nil || !strings.Contains(err.Error(), "network of the same name") {
		t.Errorf("%v", err)
	}
}

func TestASimulatedNetworkBeginsAgain(t *testing.T) {
	dir := t.TempDir()
	files := filepath.Join(dir, "devnet")
	begin := func(seconds string) {
		write(t, filepath.Join(files, "config.yaml"), "CONFIG_NAME: devnet\nGENESIS_FORK_VERSION: 0x10000038\nSECONDS_PER_SLOT: 5\n")
		write(t, filepath.Join(files, "genesis_validators_root.txt"), "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95")
		write(t, filepath.Join(files, "genesis_time.txt"), seconds)
	}
	open := func(use DirUse) error {
		d, err := openDataDir(dir, use)
		if err == nil {
			err = d.close()
		}
		return err
	}
	begin("1795000000")
	n := network.Network{Name: "devnet"}
	if err := n.GenesisValidatorsRoot.UnmarshalText([]byte("0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95")); err != nil {
		t.Fatal(err)
	}
	simulated := DirUse{Consumer: true, Network: n, NetworkDir: files, Simulated: true}
	if err := open(simulated); err != nil {
		t.Fatal(err)
	}
	begin("1795003600")
	if err := open(simulated); err != nil {
		t.Errorf("it cannot begin again: %v", err)
	}
	n.GenesisTime = time.Unix(1795003600, 0)
	if err := open(DirUse{Consumer: true, Network: n, NetworkDir: files}); err != nil {
		t.Errorf("a consumer beside it: %v", err)
	}
	n.GenesisTime = time.Unix(1795009999, 0)
	if err := open(DirUse{Consumer: true, Network: n, NetworkDir: "/elsewhere"}); err == nil || !strings.Contains(err.Error(), "network of the same name") {
		t.Errorf("another devnet: %v", err)
	}
}
