package network_test

import (
	"testing"
	"testing/fstest"

	"github.com/chainbound/valtrack/internal/eth2/network"
)

// FuzzDirectory: the files beside config.yaml give a network that can be computed with, or an
// error.
func FuzzDirectory(f *testing.F) {
	f.Add("0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95", "1700000000", "", []byte{1, 2, 3})
	f.Add("", "", "assumed_active_validators: 5\nassumed_in: 2026-01\n", make([]byte, 64))
	f.Add("\ufeff0x", "-1", "[", []byte("version https://git-lfs.github.com/spec/v1\n"))
	f.Fuzz(func(t *testing.T, root, at, own string, ssz []byte) {
		dir := files("genesis_validators_root.txt", root)
		for name, content := range map[string]string{"genesis_time.txt": at, "valtrack.yaml": own, "genesis.ssz": string(ssz)} {
			if content != "" {
				dir[name] = &fstest.MapFile{Data: []byte(content)}
			}
		}
		n, err := network.LoadFS(dir, "")
		if err == nil && (n.Name == "" || n.Clock.SlotDuration <= 0 || n.Clock.Genesis.IsZero() || len(n.Schedule.Periods) == 0) {
			t.Errorf("network %+v", n)
		}
	})
}
