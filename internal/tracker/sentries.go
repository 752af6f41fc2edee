package tracker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Faults of a sentry.
const (
	FaultSilent         = "silent"
	FaultFewReached     = "few_reached"
	FaultFewFound       = "few_found"
	FaultClock          = "clock"
	FaultNoAttestations = "no_attestations"
)

// Faults lists them all.
func Faults() []string {
	return []string{FaultSilent, FaultFewReached, FaultFewFound, FaultClock, FaultNoAttestations}
}

// SentryFault is something that a sentry does worse than the others.
type SentryFault struct {
	Fault string `json:"fault"`
	Text  string `json:"text"`
}

// SentryFigures compare a sentry with the others, over the day before the newest event of all.
// Numbers of nodes are of peer ids.
type SentryFigures struct {
	Sentry
	Tried   int `json:"tried"`   // nodes that it visited, or tried to
	Reached int `json:"reached"` // of these, those that completed a handshake
	Alone   int `json:"alone"`   // of these, those that no other sentry reached
	Shared  int `json:"shared"`  // nodes that it tried and another sentry reached
	Missed  int `json:"missed"`  // of these, those that it did not reach
	// ReachedShare is the share of Shared that it reached; nil without any.
	ReachedShare *float64 `json:"reached_share"`
	Watched      int      `json:"watched"` // nodes of which it has logged the subscriptions
	// HandshakeMS is the median over nodes of the newest handshake's time; nil where none was told.
	HandshakeMS *int64 `json:"handshake_ms"`
	// HandshakeDifferenceMS is the median over the nodes that another sentry reached, too: by how
	// much its own newest handshake took longer than the median of the others'; nil without any.
	HandshakeDifferenceMS *int64 `json:"handshake_difference_ms"`

	Handshakes   int64   `json:"handshakes"`
	Hellos       int64   `json:"hellos"`
	WatchedHours float64 `json:"watched_hours"` // of nodes
	Changes      int64   `json:"changes"`
	// Faults is empty, not nil, for none.
	Faults []SentryFault `json:"faults"`
}

// NodeViews count nodes by how many of the sentries that tried them in the day reached them:
// completed a handshake, or watched them.
type NodeViews struct {
	ByAll  int `json:"by_all"`  // two or more, and each of them
	BySome int `json:"by_some"` // some, and not all
	ByOne  int `json:"by_one"`  // by the only one that tried
	ByNone int `json:"by_none"`
	// Sentries are peers that are Valtrack sentries themselves: no beacon nodes, and in none of the
	// numbers here and in SentryFigures.
	Sentries int `json:"sentries"`
}

// Sentries compares the sentries, by their ids. The list is shared: do not change it.
func (s *State) Sentries() ([]SentryFigures, NodeViews) {
	s.seen.once.Do(func() {
		s.seen.figures, s.seen.nodes = compareSentries(s.sentries, s.peers, s.Params().Clock.EpochDuration())
	})
	return s.seen.figures, s.seen.nodes
}

// SentryOf is the id of the sentry whose events have a sentry id in their keys: that id, unless the
// sentry was given another one.
func (s *State) SentryOf(key string) string {
	for id, x := range s.sentries {
		if slices.Contains(x.Keys, key) {
			return id
		}
	}
	return key
}

// SeenBy is what one of the sentries knows of a peer.
type SeenBy struct {
	View
	Location string // as in its newest event; empty where that is not known
	// Reached is whether it completed a handshake with the peer, or watched it, in the day before
	// the newest event of all sentries; nil if it did not try.
	Reached *bool
	// Differs is whether another sentry, whose last handshake was within an epoch of this one's,
	// was told other attestation subnets; nil where no other's can be compared. A duty that began
	// or ended in between is such a difference, too.
	Differs *bool
}

// SeenBy lists what each sentry knows of a peer, by the sentries' ids, also of those that know
// nothing of it, unless so many have tried it that some are forgotten.
func (s *State) SeenBy(p *Peer) []SeenBy {
	since, epoch := newestOf(s.sentries)-CountedFor.Milliseconds(), s.Params().Clock.EpochDuration().Milliseconds()
	views := slices.Clone(p.viewed(onlyOf(s.sentries)))
	if len(views) < maxViews {
		for id := range s.sentries {
			if !slices.ContainsFunc(views, func(v View) bool { return v.Sentry == id }) {
				views = append(views, View{Sentry: id})
			}
		}
	}
	slices.SortFunc(views, func(a, b View) int { return strings.Compare(a.Sentry, b.Sentry) })
	out := make([]SeenBy, len(views))
	for i, v := range views {
		x := SeenBy{View: v, Differs: v.differs(views, epoch)}
		if known := s.sentries[v.Sentry]; known != nil {
			x.Location = known.Location
		}
		if v.last() >= since && v.last() > 0 {
			x.Reached = new(v.Seen() >= since)
		}
		out[i] = x
	}
	return out
}

// differs is SeenBy.Differs of a view among all.
func (v View) differs(all []View, within int64) (differs *bool) {
	on, ok := v.subnets()
	for _, o := range all {
		theirs, known := o.subnets()
		if ok && known && o.Sentry != v.Sentry && max(v.Handshake-o.Handshake, o.Handshake-v.Handshake) <= within {
			differs = new(differs != nil && *differs || on != theirs)
		}
	}
	return differs
}

func compareSentries(sentries map[string]*Sentry, peers map[string]*Peer, epoch time.Duration) (list []SentryFigures, nodes NodeViews) {
	newest := newestOf(sentries)
	since := newest - CountedFor.Milliseconds()
	at, latencies, differences := map[string]int{}, map[string][]int64{}, map[string][]int64{}
	list = []SentryFigures{}
	for _, id := range slices.Sorted(maps.Keys(sentries)) {
		at[id] = len(list)
		f := SentryFigures{Sentry: *sentries[id], Faults: []SentryFault{}}
		for _, h := range f.Hours {
			if h.Hour+time.Hour.Milliseconds() > since {
				f.Handshakes, f.Hellos, f.Changes = f.Handshakes+h.Handshakes, f.Hellos+h.Hellos, f.Changes+h.Changes
				f.WatchedHours += float64(h.WatchedMS) / float64(time.Hour.Milliseconds())
			}
		}
		list = append(list, f)
	}
	only := onlyOf(sentries)
	var took []int64 // of the peer's handshakes
	for _, p := range peers {
		tried, reached := 0, 0
		views := p.viewed(only)
		took = took[:0]
		for _, v := range views {
			if _, known := at[v.Sentry]; known && v.last() >= since {
				tried++
				if v.Seen() >= since {
					reached++
					if v.HandshakeMS != nil {
						took = append(took, *v.HandshakeMS)
					}
				}
			}
		}
		if p.Client.Kind == eth2.ClientValtrack {
			nodes.Sentries += one(tried > 0)
			continue
		}
		nodes.add(tried, reached)
		slices.Sort(took)
		for _, v := range views {
			i, known := at[v.Sentry]
			if !known || v.last() < since {
				continue
			}
			f := &list[i]
			own := v.Seen() >= since
			f.Tried++
			f.Watched += one(v.Watched >= since)
			if own {
				f.Reached++
				if v.HandshakeMS != nil {
					latencies[v.Sentry] = append(latencies[v.Sentry], *v.HandshakeMS)
					if len(took) > 1 {
						differences[v.Sentry] = append(differences[v.Sentry], *v.HandshakeMS-medianBut(took, *v.HandshakeMS))
					}
				}
			}
			switch others := reached - one(own); {
			case others > 0:
				f.Shared++
				f.Missed += one(!own)
			case own:
				f.Alone++
			}
		}
	}
	for i := range list {
		f := &list[i]
		f.HandshakeMS, f.HandshakeDifferenceMS = middle(latencies[f.ID]), middle(differences[f.ID])
		if f.Shared > 0 {
			f.ReachedShare = new(float64(f.Shared-f.Missed) / float64(f.Shared))
		}
	}
	for i := range list {
		list[i].Faults = append(list[i].Faults, faultsOf(list, i, newest, epoch)...)
	}
	return list, nodes
}

// newestOf is when the sentries had their newest event, Unix milliseconds.
func newestOf(sentries map[string]*Sentry) (newest int64) {
	for _, s := range sentries {
		newest = max(newest, s.LastSeen)
	}
	return newest
}

// onlyOf is the id of the only sentry; empty where there are several, or none.
func onlyOf(sentries map[string]*Sentry) string {
	if len(sentries) == 1 {
		for id := range sentries {
			return id
		}
	}
	return ""
}

// medianBut is the median of an ascending list without one of its values.
func medianBut(sorted []int64, value int64) int64 {
	i, at := (len(sorted)-1)/2, slices.Index(sorted, value)
	if i >= at {
		i++
	}
	return sorted[i]
}

// middle is the median, which sorts the list; nil for none.
func middle(list []int64) *int64 {
	if len(list) == 0 {
		return nil
	}
	slices.Sort(list)
	return new(list[len(list)/2])
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (n *NodeViews) add(tried, reached int) {
	switch {
	case tried == 0:
	case reached == 0:
		n.ByNone++
	case tried == 1:
		n.ByOne++
	case reached == tried:
		n.ByAll++
	default:
		n.BySome++
	}
}

const (
	// settled is for how many epochs a sentry must have run before its numbers are compared, and
	// after how many without an event it is silent.
	settled = 10
	// enoughNodes is how many nodes, and watched epochs of nodes, a comparison needs: a few nodes
	// may all be of one kind, however often they are visited.
	enoughNodes = 20
	// fewMargin is by how many nodes a sentry must have tried less than a fifth: with it a sentry
	// that tries a third of 20 nodes or more at random is blamed with less than 1 % probability.
	fewMargin = 2
	// clockFault is the clock error above which a subscription may be taken for another slot's.
	clockFault = 2 * time.Second
)

// faultsOf finds the faults of one of the sentries: of what could also be chance, or a setting of
// the operator's, nothing is said.
func faultsOf(list []SentryFigures, i int, newest int64, epoch time.Duration) (out []SentryFault) {
	f := &list[i]
	fault := func(name, format string, args ...any) {
		out = append(out, SentryFault{name, fmt.Sprintf(format, args...)})
	}
	if f.SkewMS != nil && f.LastSeen-f.SkewAt < CountedFor.Milliseconds() {
		if skew := time.Duration(*f.SkewMS) * time.Millisecond; skew.Abs() > clockFault {
			fault(FaultClock, "%s", clockText(list, i, skew))
		}
	}
	var others []SentryFigures // that can be compared with
	for j, o := range list {
		if j != i && newest-o.LastSeen < settled*epoch.Milliseconds() && o.LastSeen-o.FirstSeen >= settled*epoch.Milliseconds() {
			others = append(others, o)
		}
	}
	silent := time.Duration(newest-f.LastSeen) * time.Millisecond
	if silent >= settled*epoch && len(list) > 1 {
		fault(FaultSilent, "no event for %s, while others have some: stopped, cut off, or its clock is wrong", silent.Round(time.Minute))
		return out
	}
	if len(others) == 0 || f.LastSeen-f.FirstSeen < settled*epoch.Milliseconds() {
		return out
	}
	if f.Shared >= enoughNodes && 2*f.Missed > f.Shared {
		fault(FaultFewReached, "did not reach %d of %d nodes that it tried and others reached", f.Missed, f.Shared)
	}
	if tried := median(others, func(o SentryFigures) float64 { return float64(o.Tried) }); tried >= enoughNodes && 5*float64(f.Tried+fewMargin) < tried {
		fault(FaultFewFound, "tried %d nodes, others %.0f: it does not find them, unless its --shard is so much smaller", f.Tried, tried)
	}
	if text := attestationText(f, others, epoch); text != "" {
		fault(FaultNoAttestations, "%s", text)
	}
	return out
}

// clockText says whose clock is off: the broker's where all others differ from it alike.
func clockText(list []SentryFigures, i int, skew time.Duration) string {
	var others []SentryFigures
	for j, o := range list {
		if j != i && o.SkewMS != nil {
			others = append(others, o)
		}
	}
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	text := fmt.Sprintf("its clock is %s %s the broker's", skew.Abs().Round(10*time.Millisecond), direction)
	alike := time.Duration(median(others, func(o SentryFigures) float64 { return float64(*o.SkewMS) })) * time.Millisecond
	if len(others) > 1 && (skew-alike).Abs() < clockFault/2 {
		return text + ", as those of the others: set the broker's"
	}
	return text
}

// attestationText says what a sentry does not see of subscriptions; empty for no fault.
func attestationText(f *SentryFigures, others []SentryFigures, epoch time.Duration) string {
	met := func(o SentryFigures) bool { return o.Reached >= enoughNodes && o.Handshakes >= enoughNodes }
	others = slices.DeleteFunc(slices.Clone(others), func(o SentryFigures) bool { return !met(o) })
	hellos := func(o SentryFigures) float64 { return float64(o.Hellos) / float64(o.Handshakes) }
	if usual := median(others, hellos); met(*f) && usual > 0.2 && 2*hellos(*f) < usual {
		return fmt.Sprintf("%.0f %% of its handshakes have the node's subscriptions, of others' %.0f %%", 100*hellos(*f), 100*usual)
	}
	watched := func(o SentryFigures) bool {
		return o.Watched >= enoughNodes && o.WatchedHours >= enoughNodes*epoch.Hours()
	}
	others = slices.DeleteFunc(others, func(o SentryFigures) bool { return !watched(o) })
	rate := func(o SentryFigures) float64 { return float64(o.Changes) / o.WatchedHours }
	if usual := median(others, rate); watched(*f) && usual*f.WatchedHours >= enoughNodes && 10*rate(*f) < usual {
		return fmt.Sprintf("%.2f changes of subnets for each hour that it watched a node, others %.2f", rate(*f), usual)
	}
	return ""
}

// median is 0 for none.
func median(list []SentryFigures, of func(SentryFigures) float64) float64 {
	if len(list) == 0 {
		return 0
	}
	values := make([]float64, len(list))
	for i, f := range list {
		values[i] = of(f)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	return values[len(values)/2]
}
