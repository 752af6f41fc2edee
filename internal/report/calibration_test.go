package report

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/tracker"
)

func TestCalibration(t *testing.T) {
	c := NewCalibration(&tracker.State{Learned: tracker.Learned{
		At:       1,
		Prior:    estimate.Prior{Bands: []estimate.Band{{Low: 0, High: 0, Share: 0.6}, {Low: 1, High: 8, Share: 0.4}}},
		Spurious: estimate.Spurious{"teku": 0.0125, "prysm": 0.5},
		Versions: []estimate.VersionCheck{
			{Kind: "prysm", Release: "7.0.0", Nodes: 3},
			{Kind: "teku", Release: "26", Nodes: 30, Watched: estimate.Failed, Trust: estimate.TrustWide},
			{Kind: "nimbus", Nodes: 30, Lifetimes: estimate.Passed},
		},
	}})
	for i, want := range []bool{true, false, false} {
		if c.Versions[i].Unproven != want {
			t.Errorf("%s is unproven: %v", c.Versions[i].Client, !want)
		}
	}
	if len(c.Prior) != 2 || c.Prior[1] != (PriorBand{1, 8, 0.4}) || len(c.Spurious) != 2 || c.Spurious[1] != (SpuriousRate{"teku", 0.0125}) {
		t.Errorf("prior %v, spurious %v", c.Prior, c.Spurious)
	}
	var out bytes.Buffer
	if err := c.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`(?m)^prysm .* everything, unproven$`, `(?m)^teku .* everything, at fitted rates  !$`, `(?m)^1 to 8 +40\.0 %$`, `(?m)^teku +0\.0125$`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no match of %s in\n%s", want, out.String())
		}
	}
}
