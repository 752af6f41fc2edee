package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

// What is published has no address, also where a node writes one into its agent.
func TestHiddenAddresses(t *testing.T) {
	rows := append(met("a", hour(1), "203.0.113.7:9000", "/ip4/203.0.113.7/tcp/9000"), met("b", hour(1), "8.0.1", "/ip4/203.0.113.8/tcp/9000")...)
	for i, agent := range map[int]string{0: "Lighthouse/203.0.113.7:9000/x86_64-linux", 2: "Lighthouse/v8.0.1/x86_64-linux"} {
		row := rows[i].(dataset.ValidatorRow)
		row.ClientVersion, row.ENR = agent, "enr:-x"
		rows[i] = row
	}
	r := reportOf(t, dataset.Range{}, rows...)
	var all bytes.Buffer
	for _, n := range r.AllNodes() {
		n.HideAddresses()
		for _, v := range []any{n, n.Row()} {
			if err := json.NewEncoder(&all).Encode(v); err != nil {
				t.Fatal(err)
			}
		}
		if got := n.Row().ClientVersion; (got == nil) != (n.ID == "a") {
			t.Errorf("%s: client_version %v", n.ID, got)
		}
	}
	if err := r.WriteNodes(&all); err != nil {
		t.Fatal(err)
	}
	if text := all.String(); strings.Contains(text, "203.0.113") || strings.Contains(text, "9000") || strings.Contains(text, "enr:") || !strings.Contains(text, "Lighthouse/v8.0.1/x86_64-linux") {
		t.Error(text)
	}
}
