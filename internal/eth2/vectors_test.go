package eth2_test

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// readVectors decodes a JSON file of testdata.
func readVectors(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// samplePeers are 173 observations of mainnet peers of May 2024: rows of enr, id,
// client_version, attnets, syncnets, long_lived_subnets, epoch.
func samplePeers(t testing.TB) [][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "sample_peers.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 174 {
		t.Fatalf("%d lines: want a header and 173 rows", len(rows))
	}
	return rows[1:]
}
