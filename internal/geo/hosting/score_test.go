package hosting

import (
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"testing"
)

// labelled is a network of testdata.
type labelled struct {
	asn   uint32
	name  string
	label Type
	cloud string
}

func readLabelled(t *testing.T, files ...string) []labelled {
	t.Helper()
	var out []labelled
	seen := map[uint32]bool{}
	for _, file := range files {
		f, err := os.Open("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines, err := csv.NewReader(f).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, line := range lines[1:] {
			asn, err := strconv.ParseUint(line[0], 10, 32)
			if err != nil || seen[uint32(asn)] {
				t.Fatalf("%s: AS%s: not a number, or twice (%v)", file, line[0], err)
			}
			if line[4] == "" {
				t.Errorf("%s: AS%s has no reason", file, line[0])
			}
			seen[uint32(asn)] = true
			out = append(out, labelled{uint32(asn), line[1], Type(line[2]), line[3]})
		}
	}
	return out
}

// score counts verdicts against labels, for one type.
type score struct{ right, wrong, missed int }

func (s score) precision() float64 { return ratio(s.right, s.right+s.wrong) }
func (s score) recall() float64    { return ratio(s.right, s.right+s.missed) }

func (s score) String() string {
	return fmt.Sprintf("precision %.3f  recall %.3f  (%d right, %d wrong, %d missed)",
		s.precision(), s.recall(), s.right, s.wrong, s.missed)
}

func ratio(n, of int) float64 {
	if of == 0 {
		return 1
	}
	return float64(n) / float64(of)
}

// add counts a verdict of got where the label is want; empty is no verdict.
func add[K comparable](scores map[K]score, want, got, empty K) {
	at := func(k K, s score) {
		if k != empty {
			was := scores[k]
			scores[k] = score{was.right + s.right, was.wrong + s.wrong, was.missed + s.missed}
		}
	}
	if got == want {
		at(got, score{right: 1})
		return
	}
	at(got, score{wrong: 1})
	at(want, score{missed: 1})
}

// scores counts per type and for all clouds together, and logs what is not as
// labelled.
func scores(t *testing.T, nets []labelled, classify func(labelled) Verdict) (types map[Type]score, clouds score) {
	t.Helper()
	types, cloud := map[Type]score{}, map[string]score{}
	for _, net := range nets {
		v := classify(net)
		if v.Type != net.label || v.Cloud != net.cloud {
			t.Logf("  AS%d %s: labelled %s %s, got %s %s (%s)", net.asn, net.name, net.label, net.cloud, v.Type, v.Cloud, v.Source)
		}
		add(types, net.label, v.Type, Unknown)
		add(cloud, net.cloud, v.Cloud, "")
	}
	for _, s := range cloud {
		clouds = score{clouds.right + s.right, clouds.wrong + s.wrong, clouds.missed + s.missed}
	}
	for _, kind := range []Type{Hosting, ISP, Education, Business} {
		t.Logf("%-10s %v", kind, types[kind])
	}
	t.Logf("%-10s %v", "cloud", clouds)
	return types, clouds
}

// TestPrecisionAndRecall is what `make hosting-score` prints.
func TestPrecisionAndRecall(t *testing.T) {
	heldOut := readLabelled(t, "heldout.csv")
	all := readLabelled(t, "heldout.csv", "labelled.csv")
	if len(heldOut) != 100 || len(all) != 300 {
		t.Fatalf("%d held out of %d labelled networks, want 100 of 300", len(heldOut), len(all))
	}
	unseen, drawn := readLabelled(t, "unseen.csv"), readLabelled(t, "drawn.csv")
	if len(drawn) != 100 {
		t.Fatalf("%d networks drawn, want 100", len(drawn))
	}
	both := func(n labelled) Verdict { return Classify(n.asn, n.name) }
	rulesAlone := func(n labelled) Verdict { return classifyName(n.name) }
	crawl := readLabelled(t, "labelled.csv")
	var notInTable []labelled
	for _, n := range all {
		if _, ok := table()[n.asn]; !ok {
			notInTable = append(notInTable, n)
		}
	}
	for _, part := range []struct {
		name     string
		nets     []labelled
		classify func(labelled) Verdict
		atLeast  float64 // precision and recall of hosting and of clouds
	}{
		{"all 300, table and rules", all, both, 0.97},
		{"100 held out, table and rules", heldOut, both, 0.97},
		{"200 of a crawl, table and rules", crawl, both, 0.97},
		{"200 of a crawl, rules alone", crawl, rulesAlone, 0},
		{"64 unseen, table and rules", unseen, both, 0},
		{"100 drawn, table and rules", drawn, both, 0},
		{"not in the table, so rules alone", notInTable, both, 0},
		{"100 held out, rules alone", heldOut, rulesAlone, 0},
		{"all 300, rules alone", all, rulesAlone, 0},
	} {
		t.Run(part.name, func(t *testing.T) {
			types, clouds := scores(t, part.nets, part.classify)
			for what, s := range map[string]score{"hosting": types[Hosting], "cloud": clouds} {
				if s.precision() < part.atLeast || s.recall() < part.atLeast {
					t.Errorf("%s has %v, want %.2f", what, s, part.atLeast)
				}
			}
		})
	}
}
