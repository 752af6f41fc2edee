package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/printable"
	"github.com/chainbound/valtrack/internal/tracker"
)

// whyNode says in a sentence what is known of a node's validators, and from what. p is nil
// when it is not tracked.
func whyNode(n *Node, state *tracker.State, p *tracker.Peer, d *Tracked) string {
	switch {
	case n.sentry():
		return fmt.Sprintf("Another Valtrack sentry (%s), not a beacon node: nothing is estimated.", printable.Clean(n.Agent))
	case n.handshake == 0 && n.visits == 0:
		return "Nothing is known of its validators: its record was found, and it was not visited."
	case n.handshake == 0:
		return fmt.Sprintf("Nothing is known of its validators: %s, no completed handshake; the last visit ended with %q.", plural(n.visits, "visit"), n.LastOutcome)
	case d == nil || d.Together == nil:
		return "Not estimated yet: estimates follow within minutes of a handshake, while a consumer runs."
	}
	reasons := []string{dutiesSeen(n, state, p, d), custodySeen(p)}
	if text := syncSeen(d); text != "" {
		reasons = append(reasons, text)
	}
	text := headline(*d.Together) + ": " + strings.Join(reasons, "; ") + "."
	if doubts := doubtsOf(p.Estimate.Flags); len(doubts) > 0 {
		text += " In doubt: " + strings.Join(doubts, "; ") + "."
	}
	return text
}

// doubtsOf says what the flags of an estimate leave open.
func doubtsOf(f estimate.Flags) (list []string) {
	for _, doubt := range []struct {
		flag estimate.Flags
		text string
	}{
		{estimate.FlagEveryDuty, "it may show every duty, not only those of aggregators: the interval covers both"},
		{estimate.FlagSilent, "its custody groups require validators but no duty shows, so it either keeps them by choice or hides its duties: the upper end is for the latter"},
		{estimate.FlagConflict, "its signals contradict each other, and the interval covers what each of them says"},
		{estimate.FlagSaturated, "it fills nearly everything that can be observed, and more validators would hardly show"},
		{estimate.FlagMoved, "its number of validators changed within the week, and only the days since then count"},
	} {
		if f&doubt.flag != 0 {
			list = append(list, doubt.text)
		}
	}
	return list
}

// unvisited says when a node that was found is not visited.
const unvisited = "A node that was found is visited when its turn comes, and never if its record is of another fork, has no address that can be dialled, is excluded, or belongs to another shard."

// uncounted says why a node that never completed a handshake is in no total.
const uncounted = "It is not in the totals: only nodes that completed a handshake are counted."

// noteOf says of a node that never completed a handshake, or that does not answer any more, what
// that means, and since when; empty for others.
func noteOf(n *Node) string {
	switch {
	case n.sentry():
		return ""
	case n.handshake > 0:
		return goneText(n)
	}
	note := uncounted
	switch text := event.OutcomeMeaning(n.LastOutcome); {
	case n.visits == 0 && n.record != nil && n.IP == nil && n.IP6 == nil:
		note += " It cannot be visited: its record has no address."
	case n.visits == 0:
		note += " " + unvisited
	case text != "":
		note = fmt.Sprintf("The outcome %q means: %s. ", n.LastOutcome, text) + note
	}
	if n.LastSeen > 0 {
		note += fmt.Sprintf(" Its newest record was found at %s", clock(n.LastSeen))
		if n.visits > 0 {
			note += fmt.Sprintf(", the last visit began at %s", clock(n.began))
		}
		note += "."
	}
	return note
}

// forkNote says of a node that was never visited that it seems to be of another fork than the nodes that were met;
// empty where its record has no fork digest, or that of a node that completed a handshake.
func forkNote(n *Node, nodes map[string]*Node) string {
	if n.handshake > 0 || n.visits > 0 || n.ForkDigest == nil {
		return ""
	}
	met := false
	for _, o := range nodes {
		if o.handshake == 0 || o.ForkDigest == nil {
			continue
		}
		if met = true; *o.ForkDigest == *n.ForkDigest {
			return ""
		}
	}
	if !met {
		return ""
	}
	return fmt.Sprintf("Its record has the fork digest %s, which no node that completed a handshake has: it is probably on another fork. Such nodes are not visited.", printable.Clean(*n.ForkDigest))
}

// goodbyeNote says why a node that never completed a handshake ended the last visit with a goodbye;
// empty where it did not.
func goodbyeNote(n *Node, visits []dataset.VisitRow) string {
	if n.handshake > 0 || n.LastOutcome != event.OutcomeGoodbye {
		return ""
	}
	for _, v := range slices.Backward(visits) {
		if v.Started != n.began || v.GoodbyeCode == nil {
			continue
		}
		return fmt.Sprintf("The code of the last goodbye was %d: %s.", *v.GoodbyeCode, cmp.Or(event.GoodbyeMeaning(*v.GoodbyeCode), "its meaning is unknown"))
	}
	return ""
}

// goneText says that nothing was heard of a node in the visits since a time; empty where the last
// one met it, still runs, or was interrupted by us.
func goneText(n *Node) string {
	meaning := event.OutcomeMeaning(n.LastOutcome)
	if n.began <= n.LastSeen || meaning == "" || n.LastOutcome == event.OutcomeCanceled {
		return ""
	}
	return fmt.Sprintf("It was last heard from at %s, and everything here dates from then: the last visit, at %s, ended with %q (%s).",
		clock(n.LastSeen), clock(n.began), n.LastOutcome, meaning)
}

// uncountedText says why a node with an estimate is in no total; empty for one that counts. newest
// is when the last of all nodes was met, Unix milliseconds.
func uncountedText(n *Node, d *Tracked, newest int64) string {
	if n.Weight == nil || *n.Weight > 0 {
		return ""
	}
	if n.met < newest-tracker.CountedFor.Milliseconds() {
		return fmt.Sprintf("It is no longer in the totals: it was last met, by a handshake or in a watch, at %s, more than %.0f hours before the newest of all nodes.", clock(n.met), tracker.CountedFor.Hours())
	}
	for _, o := range d.SameAddress {
		if o.LastSeen >= n.met {
			return fmt.Sprintf("It is not in the totals: %s was met at its address later, and is taken to be the same node.", o.ID)
		}
	}
	return "It is not in the totals: its network prefix has more nodes, or claims more validators, than may count."
}

// historyText says in words when a node's number of validators changed; empty where no change
// shows.
func (d *Tracked) historyText() string {
	if d == nil || len(d.Stretches) < 2 {
		return ""
	}
	var parts []string
	last := len(d.Stretches) - 1
	for i, s := range d.Stretches {
		had := "about " + Estimated{Validators: s.Validators, ValidatorsLow: s.ValidatorsLow, ValidatorsHigh: s.ValidatorsHigh}.inSentence()
		from, to := unix(s.From).Format(time.DateOnly), unix(s.To-1).Format(time.DateOnly)
		switch {
		case i == last:
			parts = append(parts, fmt.Sprintf("since %s %s", from, had))
		case from == to:
			parts = append(parts, fmt.Sprintf("on %s it had %s", from, had))
		default:
			parts = append(parts, fmt.Sprintf("from %s to %s it had %s", from, to, had))
		}
	}
	text := strings.Join(parts, ", ") + ". The estimate is the last of these; the others come from its subnets alone."
	return "Its duties show that its number of validators changed: " + text
}

// syncSeen is what the node's sync committee subnets say, when it was on any.
func syncSeen(d *Tracked) string {
	if d.SyncOn == 0 || d.Sync == nil {
		return ""
	}
	return fmt.Sprintf("it was on %d of %s, which alone says %s", d.SyncOn, plural(int(d.SyncOn+d.SyncOff), "sync committee subnet"), d.Sync.inSentence())
}

// headline is the estimate in words.
func headline(e Estimated) string {
	switch {
	case e.ValidatorsHigh == 0:
		return fmt.Sprintf("No validators, with a probability of %.1f %%", 100*(1-e.PValidator))
	case e.Validators == 0:
		return fmt.Sprintf("Probably no validators (%.0f %%), with 90 %% probability %s to %s", 100*(1-e.PValidator), thousands(e.ValidatorsLow), thousands(e.ValidatorsHigh))
	}
	return fmt.Sprintf("About %s validators, with 90 %% probability %s to %s", thousands(float64(e.Validators)), thousands(e.ValidatorsLow), thousands(e.ValidatorsHigh))
}

// inSentence is the number with its interval, written as on the dashboard, which shows the sentence.
func (e Estimated) inSentence() string {
	return fmt.Sprintf("%s [%s to %s]", thousands(float64(e.Validators)), thousands(e.ValidatorsLow), thousands(e.ValidatorsHigh))
}

// thousands is a number that is not negative, rounded, such as 58,445.
func thousands(n float64) string {
	text := fmt.Sprintf("%.0f", n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// dutiesSeen is what the node's subnets say.
func dutiesSeen(n *Node, state *tracker.State, p *tracker.Peer, d *Tracked) string {
	switch {
	case p.Estimate.AllSubnets:
		return "it is on all 64 attestation subnets, so that its duties cannot be told apart"
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
	if follows(d, state, p) {
		out += ", hence about " + d.Subnets.inSentence()
	} else {
		// The watch shows duties of before and after it, or several that count as one.
		out += fmt.Sprintf("; allowing for how long this client stays on a duty's subnet, and how many validators nodes usually have, %s filled and %s empty give about %s", thousands(float64(d.CellsOn)), thousands(float64(d.CellsOff)), d.Subnets.inSentence())
	}
	if d.CellRate != nil {
		out += fmt.Sprintf("; the chance that a validator fills a cell is about 1 in %s", thousands(1 / *d.CellRate))
		if sd := *d.CellRateSD; sd > 0 {
			out += fmt.Sprintf(", give or take %.2g %%", 100*sd)
		}
	}
	return out + wideBecause(state, p)
}

// wideBecause says why an interval is wider than the number of cells explains; empty where it is
// not.
func wideBecause(state *tracker.State, p *tracker.Peer) string {
	switch {
	case p.Estimate.Trust != estimate.TrustWide:
		return ""
	case measured(state, p):
		return "; the interval is wide because its client version shows duties at another rate than assumed, or at one not known to within a tenth (valtrack report --calibration)"
	}
	return "; the interval is wide because the rate of its client version is unproven: too few of its nodes could be tested (valtrack report --calibration)"
}

// measured reports whether any test of the peer's client version had enough nodes.
func measured(state *tracker.State, p *tracker.Peer) bool {
	return slices.ContainsFunc(state.Learned.Versions, func(v estimate.VersionCheck) bool {
		return v.Kind == p.Client.Kind && v.Release == p.Client.Release() && !v.Unproven()
	})
}

// follows reports whether the number that the subnets give is what anybody computes from
// the duties, the watched epochs and the rate, as the sentence rounds them.
func follows(d *Tracked, state *tracker.State, p *tracker.Peer) bool {
	epochs := math.Round(10*p.Estimate.EpochsWatched) / 10
	if epochs <= 0 {
		return false
	}
	simple := float64(d.CellsOn) / epochs * max(1, math.Round(1/state.Params().AggregatorShare()))
	return math.Abs(simple-float64(d.Subnets.Validators)) <= 0.02*simple
}

// observed is the time in which duties could be seen.
func observed(n *Node, p *tracker.Peer) string {
	if p.Estimate.EpochsWatched > 0 {
		return fmt.Sprintf("%.1f watched epochs", p.Estimate.EpochsWatched)
	}
	return "the subscriptions at " + plural(max(n.Observations, 1), "handshake") + ", without a watch"
}

func dutyCount(cells uint64) string {
	switch cells {
	case 0:
		return "no duty"
	case 1:
		return "1 duty"
	}
	return thousands(float64(cells)) + " duties"
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
