package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/tracker"
)

// whyNode says in a sentence what is known of a node's validators, and from what. p is nil
// when it is not tracked.
func whyNode(n *Node, state *tracker.State, p *tracker.Peer, d *Tracked) string {
	switch {
	case n.sentry():
		return fmt.Sprintf("Another Valtrack sentry (%s), not a beacon node: nothing is estimated.", printable(n.Agent))
	case n.handshake == 0 && n.visits == 0:
		return "Nothing is known of its validators: its record was found, and it was not visited."
	case n.handshake == 0:
		return fmt.Sprintf("Nothing is known of its validators: %s, no completed handshake; the last visit ended with %q.", plural(n.visits, "visit"), n.LastOutcome)
	case d == nil || d.Together == nil:
		return "Not estimated yet: estimates follow within minutes of a handshake, while a consumer runs."
	}
	reasons := []string{dutiesSeen(n, state, p, d), custodySeen(p)}
	return headline(*d.Together) + ": " + strings.Join(reasons, "; ") + "."
}

// headline is the estimate in words.
func headline(e Estimated) string {
	switch {
	case e.ValidatorsHigh == 0:
		return fmt.Sprintf("No validators, with a probability of %.1f %%", 100*(1-e.PValidator))
	case e.Validators == 0:
		return fmt.Sprintf("Probably no validators (%.0f %%), at most %.0f", 100*(1-e.PValidator), e.ValidatorsHigh)
	}
	return fmt.Sprintf("About %d validators, with 90 %% probability %.0f to %.0f", e.Validators, e.ValidatorsLow, e.ValidatorsHigh)
}

// dutiesSeen is what the node's subnets say.
func dutiesSeen(n *Node, state *tracker.State, p *tracker.Peer, d *Tracked) string {
	switch {
	case p.Estimate.AllSubnets:
		return "it is on all 64 attestation subnets, so that its duties cannot be told apart"
	case p.Estimate.Trust == estimate.TrustCustody:
		return "its subnets are not used, since its client version fails the tests (report --calibration)"
	case d.Subnets == nil:
		return "no duty could be observed yet"
	}
	seen := fmt.Sprintf("%s seen in %s", dutyCount(d.CellsOn), observed(n, p))
	rate := "one in each epoch"
	if epochs := math.Round(1 / state.Params().AggregatorShare()); epochs > 1 {
		rate = fmt.Sprintf("about one in %.0f epochs", epochs)
	}
	out := fmt.Sprintf("%s; a validator shows %s", seen, rate)
	if d.CellsOn == 0 {
		return out
	}
	out += fmt.Sprintf(", hence about %d", d.Subnets.Validators)
	if p.Estimate.Trust == estimate.TrustWide {
		out += ", or up to a factor of two from that, since its client version fits the assumptions badly"
	}
	return out
}

// observed is the time in which duties could be seen.
func observed(n *Node, p *tracker.Peer) string {
	if p.Estimate.EpochsWatched > 0 {
		return fmt.Sprintf("%.1f watched epochs", p.Estimate.EpochsWatched)
	}
	return "the subscriptions at " + plural(max(n.Observations, 1), "handshake") + ", without a watch"
}

func dutyCount(cells uint64) string {
	if cells == 0 {
		return "no duty"
	}
	return plural(int(cells), "duty")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if before, ok := strings.CutSuffix(noun, "y"); ok {
		return fmt.Sprintf("%d %sies", n, before)
	}
	if strings.HasSuffix(noun, "x") {
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// custodySeen is what the node's custody group count says.
func custodySeen(p *tracker.Peer) string {
	switch n := p.Custody.Latest; {
	case n == 0:
		return "it reports no custody group count"
	case n == eth2.NumberOfCustodyGroups:
		return fmt.Sprintf("it keeps all %d custody groups, as with %d validators or more, or by choice", n, n)
	case n > eth2.ValidatorCustodyRequirement:
		return fmt.Sprintf("it keeps %d custody groups, as with %d validators of 32 ETH", n, n)
	case n == eth2.ValidatorCustodyRequirement:
		return fmt.Sprintf("it keeps %d custody groups, as with 1 to %d validators", n, n)
	default:
		return fmt.Sprintf("it keeps %d custody groups, as without validators", n)
	}
}
