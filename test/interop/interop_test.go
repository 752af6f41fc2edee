//go:build interop

// Package interop holds Valtrack against real beacon nodes with real validators.
package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

// realNode is one node of REALNET/run/realnet.json.
type realNode struct {
	Client     string `json:"client"`
	Validators int    `json:"validators"`
	HTTPPort   int    `json:"http_port"`
	PeerID     string `json:"peer_id"`
}

// identity is what a node says of itself: GET /eth/v1/node/identity.
type identity struct {
	PeerID   string `json:"peer_id"`
	Metadata struct {
		Attnets eth2.Attnets `json:"attnets"`
		CGC     string       `json:"custody_group_count"`
	} `json:"metadata"`
}

// nodeRow is a line of `valtrack report --nodes --json`.
type nodeRow struct {
	ID           string  `json:"id"`
	Client       string  `json:"client"`
	CGC          *uint64 `json:"custody_group_count"`
	LongLived    []int   `json:"long_lived_subnets"`
	ShortLived   []int   `json:"short_lived_subnets"`
	Observations int     `json:"observations"`
}

func TestRealNodes(t *testing.T) {
	dir := os.Getenv("REALNET")
	nodes := realNodes(t, dir)
	data := t.TempDir()
	const program = "../../valtrack"
	run := exec.Command(program, "run", "--network-dir", filepath.Join(dir, "run"), "--data-dir", data,
		"--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--segment-age", "5s")
	run.Stderr = os.Stderr
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer run.Process.Kill()

	// The node with many validators announces more than its two long-lived subnets
	// whenever one of them aggregates in what is left of the epoch: two epochs.
	deadline := time.Now().Add(8 * time.Minute)
	var rows map[string]nodeRow
	for {
		rows = report(t, program, data)
		if seenAll(nodes, rows) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not every node handshaked and announced its subnets in time: %+v", rows)
		}
		time.Sleep(2 * time.Second)
	}
	for _, n := range nodes {
		id, row := identify(t, n), rows[n.PeerID]
		fmt.Printf("%s validators=%d cgc=%d (API %s) long-lived=%v (API %v) short-lived=%v\n",
			n.PeerID, n.Validators, *row.CGC, id.Metadata.CGC, row.LongLived, id.Metadata.Attnets.Subnets(), row.ShortLived)
		if diff := cmp.Diff(id.Metadata.Attnets.Subnets(), row.LongLived); diff != "" {
			t.Errorf("%s: attnets, its Beacon API against ours (-want +got):\n%s", n.PeerID, diff)
		}
		if want := id.Metadata.CGC; strconv.FormatUint(*row.CGC, 10) != want {
			t.Errorf("%s: cgc %d, its Beacon API says %s", n.PeerID, *row.CGC, want)
		}
	}
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(); err != nil {
		t.Errorf("valtrack run after SIGTERM: %v", err)
	}
}

// manyValidators is from where on a node must show short-lived subnets.
const manyValidators = 32

func seenAll(nodes []realNode, rows map[string]nodeRow) bool {
	for _, n := range nodes {
		row := rows[n.PeerID]
		if row.Observations == 0 || row.CGC == nil || n.Validators >= manyValidators && len(row.LongLived)+len(row.ShortLived) <= 2 {
			return false
		}
	}
	return true
}

func realNodes(t *testing.T, dir string) []realNode {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "run", "realnet.json"))
	if err != nil {
		t.Fatalf("REALNET=%q must name the folder of a running network of real nodes: %v", dir, err)
	}
	var net struct {
		Nodes []realNode `json:"nodes"`
	}
	if err := json.Unmarshal(text, &net); err != nil {
		t.Fatal(err)
	}
	if len(net.Nodes) == 0 {
		t.Fatal("no nodes in realnet.json")
	}
	return net.Nodes
}

// identify reads a node's identity from its own Beacon API.
func identify(t *testing.T, n realNode) identity {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/eth/v1/node/identity", n.HTTPPort), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body struct {
		Data identity `json:"data"`
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body.Data
}

func report(t *testing.T, program, data string) map[string]nodeRow {
	t.Helper()
	cmd := exec.Command(program, "report", "--nodes", "--json", "--data-dir", data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("valtrack report: %v", err)
	}
	rows := map[string]nodeRow{}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var row nodeRow
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rows[row.ID] = row
	}
	return rows
}
