package estimate

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

const methodologyPage = "../../docs/methodology.md"

// Everyone who reads the table of windows sees which of them were measured on a real node.
func TestMethodologySaysWhatWasMeasured(t *testing.T) {
	text, err := os.ReadFile(methodologyPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		row := regexp.MustCompile(`(?mi)^\| ` + string(c.kind) + ` \|.* \| (measured|not measured|[^|]*; not measured)[^|]* \|$`)
		if !row.Match(text) {
			t.Errorf("no row for %s that ends with what was measured", c.kind)
		}
	}
}

// The numbers in the sentences of the page are the constants of the code. A constant that the
// page comes to state is added here.
func TestMethodologySaysTheConstants(t *testing.T) {
	text, err := os.ReadFile(methodologyPage)
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Join(strings.Fields(string(text)), " ")
	percent := func(shares ...float64) (out []any) {
		for _, s := range shares {
			out = append(out, fmt.Sprintf("%.4g", 100*s))
		}
		return out
	}
	prior, habits, held := DefaultPrior().Bands, defaultShares(), stakes()
	for _, sentence := range []string{
		fmt.Sprintf("%s %% of nodes have no validator, %s %% one to eight, %s %% up to 127 and", percent(prior[0].Share, prior[1].Share, prior[2].Share)...),
		fmt.Sprintf("%s are assumed to have up to 399, %s up to 1,199, %s up to 3,999, %s up to 19,999 and %s more", percent(prior[3].Share, prior[4].Share, prior[5].Share, prior[6].Share, prior[7].Share)...),
		fmt.Sprintf("the prior above has the weight of %d nodes", priorStrength),
		fmt.Sprintf("starting from %s %% for every duty and %s %% for none", percent(habits[everyDuty], habits[silent])...),
		fmt.Sprintf("%s %% of nodes keep all columns by choice, %s %% half of them, %s %% still have the count of an earlier stake, %s %% (%s %% for Nimbus,",
			percent(shareSupernode, shareSemiSupernode, shareStale, shareUnderReport, shareExternal)...),
		fmt.Sprintf("and %s %% have validators with %g to %s ETH", percent(shareCompounding)[0], ethPerUnit*held[0], thousands(ethPerUnit*held[len(held)-1])),
		fmt.Sprintf("Where the mean balance is above %.4g ETH", ethPerUnit*(1+shareCompounding)),
		fmt.Sprintf("In %s %% of the nodes the stake is assumed to be off by some %s %%", percent(smeared, smearSD)...),
		fmt.Sprintf("before that it is %s %%", percent(assumedFormer)...),
		fmt.Sprintf("differ by more than %g standard deviations and by a factor of more than %g, only the later ones", surely, smallest),
		fmt.Sprintf("%g times 32 ETH where it is not known", assumedMean),
		fmt.Sprintf("on all four subnets by choice (%s %%), or on some of them for another reason (%s %%)", percent(shareAllSyncnets, shareOddSyncnets)...),
		fmt.Sprintf("subscribes to all subnets, which %s %% of the nodes are assumed to have", percent(shareAllAttnets)...),
		fmt.Sprintf("**Spurious cells**: %g per observation", defaultSpurious),
		fmt.Sprintf("in steps of 1.1 %% up to %s:", thousands(maxValidators)),
		fmt.Sprintf("Below %s active validators", thousands(fewValidators)),
		fmt.Sprintf("other explanation with a weight of %s %%", percent(otherShare)...),
		fmt.Sprintf("explains the custody group count is %s %% or more", percent(unexplained)...),
		fmt.Sprintf("| %s %% of its number, and %s %% of its standard deviation |", percent(systematic, priorShift)...),
		fmt.Sprintf("(%.3f = 1 − %g × %s %%)", 1-middle90*systematic, middle90, percent(systematic)[0]),
		fmt.Sprintf("up to %s %% of the active validators", percent(large)...),
		fmt.Sprintf("N is %s %% of the nodes in prefixes with up to three nodes, and at least %d.", percent(prefixShare)[0], fewNodes),
		fmt.Sprintf("and %s %% of the excess over 1", percent(multiplicityError)...),
		fmt.Sprintf("(standard deviation %g), the client's deviation from it (%g for %s %% of the clients, and %s %% of those that were measured on a real node; %g for the others), and the version's deviation from its client (%g for %s %%, %g for the others)",
			networkSD, clientDifference.littleSD, percent(clientDifference.mostly)[0], percent(measuredDifference.mostly)[0], clientDifference.otherSD,
			releaseDifference.littleSD, percent(releaseDifference.mostly)[0], releaseDifference.otherSD),
		fmt.Sprintf("the rate is known to within %s %%.", percent(unprovenSD)...),
		fmt.Sprintf("with few nodes (up to %d, phased out by %d), no node changes the likelihood of a version's rate by more than a factor of 1/%g", few, many, liars),
		fmt.Sprintf("nodes of the version differ by more than %s %%, *unsure* when the rate is not known to within %s %%", percent(heterogeneous, wideRate)...),
	} {
		if !strings.Contains(page, sentence) {
			t.Errorf("docs/methodology.md does not say what the code has: %q (see \"A constant of the estimator\" in CONTRIBUTING.md)", sentence)
		}
	}
}

// thousands writes a number below a million as the pages do.
func thousands(n float64) string {
	return fmt.Sprintf("%d,%03d", int(n)/1000, int(n)%1000)
}
