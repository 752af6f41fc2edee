package tracker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
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

// SentryFault is what a sentry does worse than the others.
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
	// HandshakeMS is the median over nodes of the newest handshake's time; nil where none was told.
	HandshakeMS  *int64  `json:"handshake_ms"`
	Handshakes   int64   `json:"handshakes"`
	Hellos       int64   `json:"hellos"`
	WatchedHours float64 `json:"watched_hours"` // of nodes
	Changes      int64   `json:"changes"`
	// Faults is empty, not nil, for none.
	Faults []SentryFault `json:"faults"`
}

// NodeViews count nodes by how many of the sentries that tried them in the day reached them.
type NodeViews struct {
	ByAll  int `json:"by_all"`  // two or more, and each of them
	BySome int `json:"by_some"` // some, and not all
	ByOne  int `json:"by_one"`  // by the only one that tried
	ByNone int `json:"by_none"`
}

// Sentries compares the sentries, by their ids. The list is shared: do not change it.
func (s *State) Sentries() ([]SentryFigures, NodeViews) {
	s.seen.once.Do(func() {
		s.seen.figures, s.seen.nodes = compareSentries(s.sentries, s.peers, s.Params().Clock.EpochDuration())
	})
	return s.seen.figures, s.seen.nodes
}

// LocationOf is where a sentry says that it is; empty where that is not known.
func (s *State) LocationOf(sentry string) string {
	if x := s.sentries[sentry]; x != nil {
		return x.Location
	}
	return ""
}

func compareSentries(sentries map[string]*Sentry, peers map[string]*Peer, epoch time.Duration) (list []SentryFigures, nodes NodeViews) {
	newest := int64(0)
	for _, s := range sentries {
		newest = max(newest, s.LastSeen)
	}
	since := newest - CountedFor.Milliseconds()
	at, latencies := map[string]int{}, map[string][]int64{}
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
	only := ""
	if len(list) == 1 {
		only = list[0].ID
	}
	for _, p := range peers {
		tried, reached := 0, 0
		views := p.viewed(only)
		for _, v := range views {
			if _, known := at[v.Sentry]; known && v.last() >= since {
				tried++
				if v.Handshake >= since {
					reached++
				}
			}
		}
		nodes.add(tried, reached)
		for _, v := range views {
			i, known := at[v.Sentry]
			if !known || v.last() < since {
				continue
			}
			f := &list[i]
			own := v.Handshake >= since
			f.Tried++
			if own {
				f.Reached++
				if v.HandshakeMS != nil {
					latencies[v.Sentry] = append(latencies[v.Sentry], *v.HandshakeMS)
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
		if l := latencies[list[i].ID]; len(l) > 0 {
			slices.Sort(l)
			list[i].HandshakeMS = new(l[len(l)/2])
		}
	}
	for i := range list {
		list[i].Faults = append(list[i].Faults, faultsOf(list, i, newest, epoch)...)
	}
	return list, nodes
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
	// enoughNodes is how many nodes, and watched epochs of nodes, a comparison needs.
	enoughNodes = 20
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
	if tried := median(others, func(o SentryFigures) float64 { return float64(o.Tried) }); tried >= 5*enoughNodes && 5*float64(f.Tried) < tried {
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
	others = slices.DeleteFunc(slices.Clone(others), func(o SentryFigures) bool { return o.Handshakes < enoughNodes })
	hellos := func(o SentryFigures) float64 { return float64(o.Hellos) / float64(max(1, o.Handshakes)) }
	if usual := median(others, hellos); f.Handshakes >= enoughNodes && usual > 0.2 && 2*hellos(*f) < usual {
		return fmt.Sprintf("%.0f %% of its handshakes have the node's subscriptions, of others' %.0f %%", 100*hellos(*f), 100*usual)
	}
	enough := enoughNodes * epoch.Hours()
	others = slices.DeleteFunc(others, func(o SentryFigures) bool { return o.WatchedHours < enough })
	rate := func(o SentryFigures) float64 { return float64(o.Changes) / o.WatchedHours }
	if usual := median(others, rate); f.WatchedHours >= enough && usual*f.WatchedHours >= enoughNodes && 10*rate(*f) < usual {
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
