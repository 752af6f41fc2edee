package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzOwner: network.json names a network, is as good as missing, or is an error of the user.
func FuzzOwner(f *testing.F) {
	f.Add([]byte(`{"name":"mainnet","genesis_validators_root":"0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95"}`))
	f.Add([]byte(`{"name":"devnet","network_dir":"../../x","simulated":true}`))
	f.Add([]byte{0, 0, '\n'})
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, networkFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		o, ok, err := readOwner(dir)
		if err != nil && !isConfigError(err) || ok && (o.Name == "" || err != nil) {
			t.Errorf("%+v, %t, %v", o, ok, err)
		}
		if err := writeOwner(dir, o); err == nil && ok {
			if again, _, err := readOwner(dir); err != nil || again.Name != o.Name {
				t.Errorf("%+v was written, %+v read, %v", o, again, err)
			}
		}
	})
}

// FuzzConsumerID: the file gives a name that NATS takes, nothing, or an error of the user.
func FuzzConsumerID(f *testing.F) {
	f.Add([]byte("0123456789abcdef\n"))
	f.Add([]byte{0, 0})
	f.Add([]byte("a b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, consumerIDFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := storedConsumerID(dir)
		if err != nil && !isConfigError(err) || strings.ContainsAny(id, " .*>/\\\n") {
			t.Errorf("%q, %v", id, err)
		}
	})
}
