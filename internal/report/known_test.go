package report

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// knownID is a peer id with a key of its own.
func knownID(t testing.TB, n byte) string {
	t.Helper()
	// The x coordinate of a point of secp256k1: that of the generator, and of its double.
	keys := map[byte]string{
		1: "\x02\x79\xbe\x66\x7e\xf9\xdc\xbb\xac\x55\xa0\x62\x95\xce\x87\x0b\x07\x02\x9b\xfc\xdb\x2d\xce\x28\xd9\x59\xf2\x81\x5b\x16\xf8\x17\x98",
		2: "\x02\xc6\x04\x7f\x94\x41\xed\x7d\x6d\x30\x45\x40\x6e\x95\xc0\x7c\xd8\x5c\x77\x8e\x4b\x8c\xef\x3c\xa7\xab\xac\x09\xb9\x5c\x70\x9e\xe5",
	}
	id, err := enr.PeerIDFromKey([]byte(keys[n]))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestReadKnown(t *testing.T) {
	a, b := knownID(t, 1), knownID(t, 2)
	text := "# ours\n\n" + a + " 120 2026-11-01 # in Berlin\n" + b + ",0,2026-11-02T10:00:00Z\r\n"
	got, err := ReadKnown(strings.NewReader(text))
	if err != nil || len(got) != 2 || got[0] != (KnownNode{a, 120, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}) || got[1].Validators != 0 || got[1].Since.Hour() != 10 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, test := range map[string]struct{ text, want string }{
		"nothing":   {"# none\n", "no node in it: want a peer id"},
		"two":       {"\n" + a + " 5\n", "line 2: 2 values: want a peer id, a number of validators and since when"},
		"peer id":   {"16Uiu2 5 2026-11-01", `line 1: "16Uiu2" is no peer id: want`},
		"number":    {a + " -5 2026-11-01", `line 1: "-5" is no number of validators: want`},
		"fraction":  {a + " 1.5 2026-11-01", `line 1: "1.5" is no number of validators: want`},
		"date":      {a + " 5 yesterday", `line 1: "yesterday" is no date or time: want`},
		"duplicate": {a + " 5 2026-11-01\n" + a + " 6 2026-11-01", a + " is in line 1 already: remove one of them"},
		"long":      {strings.Repeat("x", 5000), "line 1: more than 1024 bytes"},
	} {
		if got, err := ReadKnown(strings.NewReader(test.text)); err == nil || !strings.Contains(err.Error(), test.want) || got != nil {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// The residuals of known nodes are by client version, and name no node.
func TestKnownNodes(t *testing.T) {
	_, state := watchedPeers(t)
	const id = "watched"
	p := state.Peer(id)
	e := p.Estimate.Estimate
	five := func(validators int) []KnownNode {
		return slices.Repeat([]KnownNode{{id, validators, time.Unix(0, 0)}}, 5)
	}
	got := NewKnownNodes(state, append(five(e.Median), KnownNode{knownID(t, 1), 7, time.Unix(0, 0)}))
	if got.Missing != 1 || got.Recent != 0 || got.Withheld != 0 || len(got.Versions) != 1 || got.Versions[0].Nodes != 5 || got.Versions[0].Held != 5 || got.Versions[0].Client != string(p.Client.Kind) {
		t.Errorf("%+v", got)
	}
	if got := NewKnownNodes(state, five(e.Median+50_000)); got.Versions[0].Held != 0 || got.Versions[0].Residual >= -1 || *got.Versions[0].Ratio > 0.1 {
		t.Errorf("50,000 more: %+v", got.Versions)
	}
	if got := NewKnownNodes(state, []KnownNode{{id, e.Median, time.UnixMilli(p.LastSeen).Add(-time.Hour)}}); got.Recent != 1 || len(got.Versions) != 0 {
		t.Errorf("since an hour: %+v", got)
	}
	if got := NewKnownNodes(nil, []KnownNode{{id, 1, time.Unix(0, 0)}}); got.Missing != 1 {
		t.Errorf("without a state: %+v", got)
	}
	var text strings.Builder
	c := NewCalibration(state)
	c.Known = NewKnownNodes(state, five(e.Median))
	if err := c.WriteText(&text); err != nil || !strings.Contains(text.String(), "M5 KNOWN NODES") || strings.Contains(text.String(), id) {
		t.Errorf("%v:\n%s", err, &text)
	}
}

// The residual of a version with fewer than five nodes would be that of a node: it is withheld,
// and the report says so.
func TestFewKnownNodesAreWithheld(t *testing.T) {
	_, state := watchedPeers(t)
	for nodes := range 5 {
		got := NewKnownNodes(state, slices.Repeat([]KnownNode{{"watched", 10, time.Unix(0, 0)}}, nodes))
		if len(got.Versions) != 0 || got.Withheld != nodes {
			t.Errorf("%d nodes: %+v", nodes, got)
		}
	}
	c := NewCalibration(state)
	c.Known = NewKnownNodes(state, []KnownNode{{"watched", 10, time.Unix(0, 0)}})
	var text strings.Builder
	if err := c.WriteText(&text); err != nil || !strings.Contains(text.String(), "withheld: 1 of versions with fewer than 5") {
		t.Errorf("%v:\n%s", err, &text)
	}
}

func FuzzReadKnown(f *testing.F) {
	f.Add(knownID(f, 1) + " 120 2026-11-01\n#\n" + knownID(f, 2) + ",1,2026-11-01T00:00:00Z")
	f.Fuzz(func(t *testing.T, text string) {
		known, err := ReadKnown(strings.NewReader(text))
		if err == nil && len(known) == 0 || err != nil && len(known) > 0 {
			t.Errorf("%v, %v", known, err)
		}
	})
}
