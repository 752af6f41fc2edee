package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Validators of the committees that the Beacon API of this test names, in numbers that
// nothing else has.
const (
	firstIndex = 918_273_000_000
	committees = 32
	inEach     = 31
)

// Nothing that is kept, printed or served links a validator's index or key to a peer:
// what a Beacon API says of indices is counted and forgotten, and no table, document or
// log has a place for an index or a key.
func TestNothingLinksValidatorsToPeers(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeCommittees(w)
		select {
		case asked <- struct{}{}:
		default:
		}
	}))
	defer api.Close()

	data, metrics := t.TempDir(), freePort(t)
	p := start(t, "run", "--network", "devnet", "--devnet-nodes", "8", "--devnet-slot", "250ms", "--data-dir", data, "--segment-age", "1s", "--status-every", "1s",
		"--watch-epochs", "1", "--log-level", "debug", "--metrics", "127.0.0.1:"+metrics, "--beacon-api", api.URL)
	var report []byte
	waitFor(t, 2*time.Minute, "estimates in the report", func() bool {
		if _, err := os.Stat(filepath.Join(data, "tracker.db")); err != nil {
			return false
		}
		report = valtrack(t, "report", "--nodes", "--json", "--data-dir", data)
		return bytes.Count(report, []byte(`"validators_high"`)) > 3
	}, p)
	text := map[string][]byte{"valtrack report --nodes --json": report}
	text["/metrics"] = get(t, "http://127.0.0.1:"+metrics+"/metrics")
	p.stop(t, syscall.SIGTERM, 0)
	t.Run("addresses", func(t *testing.T) { checkPublicOutputs(t, data, map[string][]byte{"/metrics": text["/metrics"]}) })
	text["log"] = []byte(p.text())
	select {
	case <-asked:
	default:
		t.Fatal("nobody asked the Beacon API")
	}
	for _, args := range [][]string{{"report", "--json"}, {"report", "--calibration", "--json"}, {"check", "data", "--json"}} {
		text["valtrack "+strings.Join(args, " ")] = valtrack(t, append(args, "--data-dir", data)...)
	}
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, string(filepath.Separator)+"devnet"+string(filepath.Separator)) {
			return err // the devnet's own files are the truth, not what was seen of it
		}
		text[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"discovery_events", "validator_metadata_events", "visit_events", "peer_estimates", "metadata_events"} {
		rows := duckdb(t, filepath.Join(data, table+".parquet"))
		if len(rows) == 0 {
			t.Errorf("%s is empty: nothing to look at", table)
		}
		for _, row := range rows {
			line, err := json.Marshal(row)
			if err != nil {
				t.Fatal(err)
			}
			text[table] = append(append(text[table], line...), '\n')
		}
	}

	var answer bytes.Buffer
	writeCommittees(&answer)
	for _, sample := range []string{answer.String(), strings.Repeat("ab", 48), `"0x` + strings.Repeat("0f", 48) + `"`, `"validator_index":`, `"bls_pubkey":`, `"public_key":`} {
		if !linking.MatchString(sample) {
			t.Errorf("the search would not find %.80q", sample)
		}
	}
	known := 0
	for name, b := range text {
		if bytes.Contains(b, []byte("16Uiu2HA")) {
			known++
		}
		if found := linking.Find(b); found != nil {
			t.Errorf("%s has %q", name, found)
		}
	}
	// Were what is kept compressed or encoded, the search would find nothing anywhere.
	for _, name := range []string{"log", filepath.Join(data, "tracker.db"), "visit_events", "valtrack report --nodes --json"} {
		if !bytes.Contains(text[name], []byte("16Uiu2HA")) {
			t.Errorf("%s names no peer: nothing would be found in it", name)
		}
	}
	if known < 10 {
		t.Errorf("only %d of %d texts name a peer", known, len(text))
	}
}

// linking is what must not be anywhere: one of the indices, a BLS public key in hex, or
// a name for either.
var linking = regexp.MustCompile(fmt.Sprintf(`(?i)\b%d\d{6}\b|\b(?:0x)?[0-9a-f]{96}\b|validator_?ind(?:ex|ices)|proposer_?index|attester_?index|pub(?:lic)?_?keys?"|bls_?(?:pub)?_?key`, firstIndex/1_000_000))

func writeCommittees(w io.Writer) {
	type committee struct {
		Index      string   `json:"index"`
		Slot       string   `json:"slot"`
		Validators []string `json:"validators"`
	}
	var answer struct {
		Data []committee `json:"data"`
	}
	for i := range committees {
		c := committee{Index: "0", Slot: fmt.Sprint(i)}
		for j := range inEach {
			c.Validators = append(c.Validators, fmt.Sprint(firstIndex+i*inEach+j))
		}
		answer.Data = append(answer.Data, c)
	}
	json.NewEncoder(w).Encode(answer)
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
