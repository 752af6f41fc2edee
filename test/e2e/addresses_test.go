package e2e

import (
	"bytes"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/report"
)

// publicCommands are what a user may publish the output of.
func publicCommands() (all [][]string) {
	reports := [][]string{{}, {"--forks"}, {"--changes"}, {"--calibration"}, {"--nodes", "--public"}, {"--from", "2020-01-01"}}
	for _, by := range report.GroupNames() {
		reports = append(reports, []string{"--by", by}, []string{"--by", by, "--public"}, []string{"--by", by, "--from", "2020-01-01"})
		all = append(all, []string{"report", "--by", by, "--csv"}, []string{"report", "--by", by, "--csv", "--public"})
	}
	for _, args := range reports {
		args = append([]string{"report"}, args...)
		all = append(all, args, append(args[:len(args):len(args)], "--json"))
	}
	return append(all, []string{"report", "--nodes"},
		[]string{"export", "nodes", "--public", "--format", "csv", "--out", "-"},
		[]string{"export", "nodes", "--public", "--format", "ndjson", "--out", "-"})
}

// addressLike finds what may be an address; which of them is one is decided by parsing.
var addressLike = regexp.MustCompile(`enr:[\w-]+|/(?:ip[46]|dns[46a-z]*)/[^\s",]+|\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}`)

// addressesIn lists the records, multiaddrs and IP addresses in a text.
func addressesIn(text []byte) (out []string) {
	for _, found := range addressLike.FindAllString(string(text), -1) {
		_, err := netip.ParseAddr(found)
		if err == nil && found != "::" || strings.HasPrefix(found, "enr:") || strings.HasPrefix(found, "/") {
			out = append(out, found)
		}
	}
	return out
}

// checkPublicOutputs searches everything that may be published of a data directory, with
// what is logged meanwhile, for addresses.
func checkPublicOutputs(t *testing.T, data string, more map[string][]byte) {
	t.Helper()
	for _, sample := range []string{`"ip":"127.0.0.9"`, "at 2a01:4f8::1, port 9000", "/ip4/127.0.0.9/tcp/9000", "enr:-Iu4Q_a"} {
		if len(addressesIn([]byte(sample))) == 0 {
			t.Errorf("the search would not find %q", sample)
		}
	}
	// What is not for the public has them, in the same forms.
	for _, args := range [][]string{{"export", "nodes", "--format", "csv", "--out", "-"}, {"report", "--nodes", "--json"}} {
		if found := addressesIn(valtrack(t, append(args, "--data-dir", data)...)); len(found) < 8 {
			t.Errorf("valtrack %s has only the addresses %v: nothing would be found", strings.Join(args, " "), found)
		}
	}
	text := map[string][]byte{}
	for name, b := range more {
		text[name] = b
	}
	for _, args := range publicCommands() {
		cmd := exec.CommandContext(t.Context(), program, append(args, "--data-dir", data, "--log-level", "info")...)
		cmd.Env = environment()
		out, err := cmd.CombinedOutput()
		name := "valtrack " + strings.Join(args, " ")
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		text[name] = out
	}
	file := filepath.Join(t.TempDir(), "nodes.parquet")
	valtrack(t, "export", "nodes", "--public", "--out", file, "--data-dir", data)
	for _, row := range duckdb(t, filepath.Dir(file)) {
		for _, column := range []string{"multiaddr", "ip", "ip6", "port", "enr"} {
			if row[column] != nil {
				t.Errorf("%s: %s is %v", file, column, row[column])
			}
		}
	}
	named := 0
	for name, b := range text {
		if found := addressesIn(b); len(found) > 0 {
			t.Errorf("%s has %q", name, found)
		}
		if bytes.Contains(b, []byte("16Uiu2HA")) {
			named++
		}
	}
	if named < 3 {
		t.Errorf("only %d outputs name a node", named)
	}
}
