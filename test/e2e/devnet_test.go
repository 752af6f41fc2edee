// Package e2e tests Valtrack as its users run it: the built program, real nodes,
// a real NATS server, and DuckDB as the reader of what was stored.
package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/eth2"
)

// truthNode is what the devnet says of a node in truth.json.
type truthNode struct {
	PeerID     string         `json:"peer_id"`
	NodeID     eth2.NodeID    `json:"node_id"`
	ENR        string         `json:"enr"`
	Client     string         `json:"client"`
	Agent      string         `json:"agent"`
	Persona    string         `json:"persona"`
	Ours       bool           `json:"ours"`
	Handshake  bool           `json:"handshake"`
	Hello      bool           `json:"hello"`
	Outcomes   []string       `json:"outcomes"`
	CGC        uint64         `json:"cgc"`
	Transports []string       `json:"transports"`
	AllSubnets bool           `json:"all_subnets"`
	Columns    int            `json:"column_subnets"`
	changes    []subnetLine   // in order of time
	metadata   []metaDataLine // in order of time
	rows       []map[string]any
}

type subnetLine struct {
	Time   int64  `json:"t"`
	PeerID string `json:"peer_id"`
	Subnet int    `json:"subnet"`
	On     bool   `json:"on"`
}

type metaDataLine struct {
	Time    int64        `json:"t"`
	PeerID  string       `json:"peer_id"`
	Seq     uint64       `json:"seq"`
	Attnets eth2.Attnets `json:"attnets"`
	CGC     uint64       `json:"cgc"`
}

// loadNodes reads a devnet's truth.json, which is complete from its start.
func loadNodes(t *testing.T, dir string) map[string]*truthNode {
	t.Helper()
	var doc struct {
		Nodes []*truthNode `json:"nodes"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	nodes := make(map[string]*truthNode)
	for _, n := range doc.Nodes {
		nodes[n.PeerID] = n
	}
	return nodes
}

// loadTruth reads all truth files of a devnet that has ended.
func loadTruth(t *testing.T, dir string) map[string]*truthNode {
	t.Helper()
	nodes := loadNodes(t, dir)
	for _, line := range readLines[subnetLine](t, filepath.Join(dir, "truth_subscriptions.ndjson")) {
		nodes[line.PeerID].changes = append(nodes[line.PeerID].changes, line)
	}
	for _, line := range readLines[metaDataLine](t, filepath.Join(dir, "truth_metadata.ndjson")) {
		nodes[line.PeerID].metadata = append(nodes[line.PeerID].metadata, line)
	}
	return nodes
}

// subnetsBetween lists the sets of attestation subnets that the node had at some
// moment of the span, in Unix milliseconds.
func (n *truthNode) subnetsBetween(from, to int64) [][]int {
	var set eth2.Attnets
	sets := [][]int{}
	for i, c := range n.changes {
		if c.Time > to {
			break
		}
		// Changes of one millisecond are one message.
		if c.Time > from && i > 0 && n.changes[i-1].Time != c.Time {
			sets = append(sets, set.Subnets())
		}
		bit := byte(1) << (c.Subnet % 8)
		set[c.Subnet/8] &^= bit
		if c.On {
			set[c.Subnet/8] |= bit
		}
	}
	return append(sets, set.Subnets())
}

// metaDataBetween lists the MetaData that the node served at some moment of the span.
func (n *truthNode) metaDataBetween(from, to int64) []metaDataLine {
	var out []metaDataLine
	for i, m := range n.metadata {
		ends := int64(1<<63 - 1)
		if i+1 < len(n.metadata) {
			ends = n.metadata[i+1].Time
		}
		if m.Time <= to && ends >= from {
			out = append(out, m)
		}
	}
	if out == nil { // before the first entry the first one held
		out = n.metadata[:1]
	}
	return out
}

// slack is how far truth's clock (just before a message goes out) and the
// sentry's (when the census was over) may lie around a hello, in ms.
const slack = 300

func TestRunDevnetRecordsTheTruth(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, "run", "--network", "devnet", "--devnet-nodes", strconv.Itoa(mixedNodes), "--devnet-slot", mixedSlot, "--devnet-faults", "mixed", "--data-dir", data,
		"--segment-age", "2s", "--status-every", "5s", "--log-format", "text")
	p.waitLog(t, "crawling", 60*time.Second)
	truth := loadNodes(t, filepath.Join(data, "devnet"))
	want := 0
	for _, n := range truth {
		if n.Ours && n.Handshake {
			want++
		}
	}
	if want < mixedNodes*2/5 {
		t.Fatalf("only %d of the devnet's %d nodes can be handshaked", want, mixedNodes)
	}
	waitFor(t, 3*time.Minute, "two handshakes with every reachable node in the report", func() bool {
		have := reportedHandshakes(t, data)
		for id, n := range truth {
			if n.Ours && n.Handshake && have[id] < 2 {
				return false
			}
		}
		return true
	}, p)
	p.stop(t, syscall.SIGTERM, 0)

	nodes := loadTruth(t, filepath.Join(data, "devnet"))
	rows := duckdb(t, filepath.Join(data, "validator_metadata_events.parquet"))
	for _, row := range rows {
		id := row["id"].(string)
		n := nodes[id]
		if n == nil {
			t.Errorf("a handshake with %s, which is not of the devnet", id)
			continue
		}
		if !n.Handshake || !n.Ours {
			t.Errorf("a handshake with %s (%s, %s), which cannot be", id, n.Persona, n.Agent)
			continue
		}
		n.rows = append(n.rows, row)
	}
	visits := visitsByID(t, data)
	seen := map[int]bool{} // short-lived subnets that the truth had
	for id, n := range nodes {
		if n.Ours && n.Handshake && len(n.rows) == 0 {
			t.Errorf("%s (%s, %s) has no row", id, n.Persona, n.Agent)
		}
		for _, row := range n.rows {
			checkRow(t, n, row, visits[row["visit_id"].(string)], seen)
		}
	}
	for _, edge := range []int{0, 63} {
		if !seen[edge] && !raceEnabled { // too few nodes then
			t.Errorf("no node had short-lived subnet %d: the test cannot tell whether it is lost", edge)
		}
	}
	checkMetadataTable(t, data, len(rows))
	checkDiscovery(t, data, nodes)
	checkOutcomes(t, nodes, visits)
	runQueries(t, data, rows[0]["id"].(string))
}

// checkRow compares one row of validator_metadata_events with the truth.
func checkRow(t *testing.T, n *truthNode, row, visit map[string]any, seen map[int]bool) {
	t.Helper()
	name := n.PeerID + " (" + n.Persona + ", " + n.Agent + ")"
	if visit == nil {
		t.Errorf("%s: no visit_ended for visit %v", name, row["visit_id"])
		return
	}
	from, to := integer(visit["started"])-slack, integer(row["timestamp"])+slack
	metas := n.metaDataBetween(from, to)
	attnets := make([]string, len(metas))
	for i, m := range metas {
		attnets[i] = m.Attnets.String()
	}
	if !slices.Contains(attnets, row["attnets"].(string)) {
		t.Errorf("%s: attnets %v, truth %v", name, row["attnets"], attnets)
	}
	if row["client_version"] != n.Agent {
		t.Errorf("%s: client_version %q", name, row["client_version"])
	}
	if row["client"] != n.Client {
		t.Errorf("%s: client %q, truth %q", name, row["client"], n.Client)
	}
	if row["node_id"] != n.NodeID.String() {
		t.Errorf("%s: node_id %v, truth %v", name, row["node_id"], n.NodeID)
	}
	if cgc := row["custody_group_count"]; cgc == nil {
		if n.Persona != "old_protocols" {
			t.Errorf("%s: no custody_group_count", name)
		}
	} else if uint64(integer(cgc)) != n.CGC {
		t.Errorf("%s: custody_group_count %v, truth %d", name, cgc, n.CGC)
	}
	var bits eth2.Attnets
	if err := bits.UnmarshalText([]byte(row["attnets"].(string))); err != nil {
		t.Fatal(err)
	}
	long := integers(row["long_lived_subnets"])
	if diff := cmp.Diff(bits.Subnets(), long); diff != "" {
		t.Errorf("%s: long_lived_subnets against attnets (-want +got):\n%s", name, diff)
	}
	epoch := eth2.Epoch(integer(row["epoch"]))
	var cache eth2.SubnetCache
	rule, expected := cache.LongLived(n.NodeID, epoch, bits)
	if diff := cmp.Diff(expected[:], integers(row["expected_subnets"])); diff != "" {
		t.Errorf("%s: expected_subnets at epoch %d (-want +got):\n%s", name, epoch, diff)
	}
	if got, _ := row["subnet_rule"].(string); got != string(rule) {
		t.Errorf("%s: subnet_rule %q, want %q", name, got, rule)
	}
	if !n.Hello {
		return
	}
	if row["subscribed_subnets"] == nil {
		// The sentry waits a bounded time. Under the race detector that can be too
		// short for one of two hundred nodes, but not twice for the same.
		if !raceEnabled || !slices.ContainsFunc(n.rows, func(row map[string]any) bool { return row["subscribed_subnets"] != nil }) {
			t.Errorf("%s: no gossip hello", name)
		}
		return
	}
	subscribed := integers(row["subscribed_subnets"])
	sets := n.subnetsBetween(from, to)
	if !slices.ContainsFunc(sets, func(set []int) bool { return slices.Equal(set, subscribed) }) {
		t.Errorf("%s: subscribed_subnets %v, truth from %d to %d: %v", name, subscribed, from, to, sets)
	}
	short := slices.DeleteFunc(slices.Clone(subscribed), func(s int) bool { return slices.Contains(long, s) })
	if diff := cmp.Diff(short, integers(row["short_lived_subnets"])); diff != "" {
		t.Errorf("%s: short_lived_subnets (-want +got):\n%s", name, diff)
	}
	for _, s := range short {
		seen[s] = true
	}
	if columns := row["column_subnets"]; columns == nil || int(integer(columns)) != n.Columns {
		t.Errorf("%s: column_subnets %v, truth %d", name, columns, n.Columns)
	}
	if all := row["all_subnets"].(bool); all != (len(subscribed) == eth2.AttestationSubnetCount || len(long) == eth2.AttestationSubnetCount) {
		t.Errorf("%s: all_subnets %v with %d subscribed", name, all, len(subscribed))
	}
}

func checkMetadataTable(t *testing.T, data string, want int) {
	t.Helper()
	rows := duckdb(t, filepath.Join(data, "metadata_events.parquet"))
	if len(rows) != want {
		t.Errorf("metadata_events has %d rows, validator_metadata_events %d", len(rows), want)
	}
	keys := map[string]bool{}
	for _, row := range rows {
		keys[row["visit_id"].(string)] = true
		if meta, ok := row["metadata"].(map[string]any); !ok || meta["attnets"] == nil || meta["seq_number"] == nil {
			t.Errorf("metadata_events row without metadata: %v", row)
		}
	}
	if len(keys) != len(rows) {
		t.Errorf("%d metadata rows of %d visits: something is duplicated", len(rows), len(keys))
	}
}

func checkDiscovery(t *testing.T, data string, nodes map[string]*truthNode) {
	t.Helper()
	found := map[string]string{}
	for _, row := range duckdb(t, filepath.Join(data, "discovery_events.parquet")) {
		id := row["id"].(string)
		found[id] = row["enr"].(string)
		if n := nodes[id]; n != nil && row["node_id"] != n.NodeID.String() {
			t.Errorf("discovery of %s: node_id %v, truth %v", id, row["node_id"], n.NodeID)
		}
	}
	for id, n := range nodes {
		if n.Ours && n.Handshake && found[id] == "" {
			t.Errorf("%s (%s) has no discovery event", id, n.Persona)
		}
	}
}

// checkOutcomes holds every visit's outcome against those that fit the node.
func checkOutcomes(t *testing.T, nodes map[string]*truthNode, visits map[string]map[string]any) {
	t.Helper()
	wrong := map[string]int{}
	for _, v := range visits {
		n := nodes[v["id"].(string)]
		if n == nil {
			t.Errorf("a visit of an unknown peer %v", v["id"])
			continue
		}
		outcome := v["outcome"].(string)
		if outcome != "canceled" && len(n.Outcomes) > 0 && !slices.Contains(n.Outcomes, outcome) {
			wrong[n.Persona+": "+outcome+", want "+strings.Join(n.Outcomes, " or ")]++
		}
	}
	for _, what := range slices.Sorted(maps.Keys(wrong)) {
		t.Errorf("%d visits of %s", wrong[what], what)
	}
}

// visitsByID returns the row of each visit's end. Its watch may have come in parts before,
// each of them once and none missing.
func visitsByID(t *testing.T, data string) map[string]map[string]any {
	t.Helper()
	visits, parts := map[string]map[string]any{}, map[string]map[int64]bool{}
	for _, row := range duckdb(t, filepath.Join(data, "visit_events.parquet")) {
		id, part := row["visit_id"].(string), integer(row["part"])
		if parts[id] == nil {
			parts[id] = map[int64]bool{}
		}
		if parts[id][part] {
			t.Errorf("part %d of visit %s is duplicated", part, id)
		}
		parts[id][part] = true
		if row["more"].(bool) {
			continue
		}
		if visits[id] != nil {
			t.Errorf("visit %s is duplicated", id)
		}
		visits[id] = row
	}
	for id, row := range visits {
		if last := integer(row["part"]); int64(len(parts[id])) != last+1 {
			t.Errorf("visit %s ends with part %d and has %d", id, last, len(parts[id]))
		}
	}
	for id := range parts {
		if visits[id] == nil {
			t.Errorf("visit %s has no end", id)
		}
	}
	return visits
}
