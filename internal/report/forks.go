package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// Forks is how far the nodes are prepared for the next fork, by client version, and what
// they announce. Lists are never nil.
type Forks struct {
	Window *Window `json:"window"` // null for all data
	// Network names the fork schedule that nodes are compared with; empty when it is not
	// known, and readiness neither.
	Network string `json:"network"`
	Epoch   uint64 `json:"epoch"` // at which they are compared
	Current string `json:"current_digest"`
	// Scheduled says whether the schedule has a further fork; null when it is not known.
	Scheduled *bool `json:"scheduled"`
	// Next is null when the schedule has no further fork.
	Next *NextFork `json:"next"`
	// Validators are those of the nodes that count in totals, by readiness; null without a next
	// fork or without estimates.
	Validators *ForkValidators `json:"validators"`

	Versions  []ForkVersion  `json:"versions"`
	Announced []Announcement `json:"announced"`
}

// NextFork is the next change of the fork digest.
type NextFork struct {
	Name        string `json:"name"`
	Epoch       uint64 `json:"epoch"`
	At          int64  `json:"at"`           // Unix milliseconds
	ForkVersion string `json:"fork_version"` // from then on; as before where only blob parameters change. Empty from an earlier server
	Digest      string `json:"digest"`
}

// ForkValidators are sums over nodes: those of Ready, NotReady and Unknown add up to Total, but
// for the ends of their intervals.
type ForkValidators struct {
	Total    ForkSum `json:"total"`
	Ready    ForkSum `json:"ready"`
	NotReady ForkSum `json:"not_ready"`
	Unknown  ForkSum `json:"unknown"`
}

// ForkSum are attachments on so many nodes, with the ends of the 90 % interval.
type ForkSum struct {
	Nodes      int     `json:"nodes"`
	Validators float64 `json:"validators"`
	Low        float64 `json:"validators_low"`
	High       float64 `json:"validators_high"`
}

// Readiness of a node for the next fork.
type Readiness int

// The readiness of a node.
const (
	ReadinessUnknown Readiness = iota
	Ready
	NotReady
)

// ForkMember is a node that counts in totals.
type ForkMember struct {
	Readiness Readiness
	Client    string
	Estimate  estimate.Estimate
	Weight    float64
}

// NewForkValidators sums up the nodes; nil without any.
func NewForkValidators(m *estimate.Model, members []ForkMember) *ForkValidators {
	if len(members) == 0 {
		return nil
	}
	all, by := estimate.ClientSums{}, [3]estimate.ClientSums{{}, {}, {}}
	for _, n := range members {
		all.Add(n.Client, n.Estimate, n.Weight)
		by[n.Readiness].Add(n.Client, n.Estimate, n.Weight)
	}
	sum := func(c estimate.ClientSums) ForkSum {
		t := m.TotalOf(c)
		return ForkSum{c.Nodes(), tenth(t.Validators), tenth(t.Low), tenth(t.High)}
	}
	return &ForkValidators{sum(all), sum(by[Ready]), sum(by[NotReady]), sum(by[ReadinessUnknown])}
}

// tenth rounds a number of validators: less is no more than noise of its interval.
func tenth(v float64) float64 { return math.Round(10*v) / 10 }

// ForkVersion is one client version. Of its Nodes, Current follow the digest of now.
// Ready, NotReady and Unknown add up to Nodes, by their newest record; without a known
// next fork all are unknown. Validators are attachments on its nodes, with the ends of the 90 %
// interval; null without estimates.
type ForkVersion struct {
	Client   string `json:"client"`
	Version  string `json:"version"` // empty where the agent has none
	Nodes    int    `json:"nodes"`
	Current  int    `json:"current"`
	Ready    int    `json:"ready"`
	NotReady int    `json:"not_ready"`
	Unknown  int    `json:"unknown"`

	Validators *float64 `json:"validators"`
	Low        *float64 `json:"validators_low"`
	High       *float64 `json:"validators_high"`
}

// Announcement is what Nodes nodes say about forks: the digest in the Status, and the next
// fork in the record. Pointers are null where it is not said.
type Announcement struct {
	ForkDigest      *string `json:"fork_digest"`
	NextForkVersion *string `json:"next_fork_version"`
	NextForkEpoch   *uint64 `json:"next_fork_epoch"`
	NFD             *string `json:"nfd"`
	Nodes           int     `json:"nodes"`
}

// Schedule is the fork schedule of a network.
type Schedule struct {
	Network string
	eth2.Schedule
	eth2.Clock
}

// Forks compares the nodes with the schedule, as it is at the end of the report's range;
// nil when it is not known.
func (r *Report) Forks(s *Schedule) Forks {
	f := Forks{Window: r.window(), Versions: []ForkVersion{}, Announced: []Announcement{}}
	var next *Expected
	if s != nil {
		next = f.compareWith(s, r.end())
	}
	versions, announced := map[release]*ForkVersion{}, map[string]*Announcement{}
	for _, n := range r.Nodes() {
		key := releaseOf(n)
		v := versions[key]
		if v == nil {
			v = &ForkVersion{Client: key.client, Version: key.version}
			versions[key] = v
		}
		v.count(n, f.Current, next)
		count(announced, n)
	}
	if next != nil {
		f.Validators = r.forkValidators(next)
	}
	for key, sums := range r.releaseSums() {
		if v, t := versions[key], r.model.TotalOf(sums); v != nil {
			v.Validators, v.Low, v.High = &t.Validators, &t.Low, &t.High
		}
	}
	for _, v := range versions {
		f.Versions = append(f.Versions, *v)
	}
	for _, a := range announced {
		f.Announced = append(f.Announced, *a)
	}
	slices.SortFunc(f.Versions, func(a, b ForkVersion) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), strings.Compare(a.Client, b.Client), strings.Compare(b.Version, a.Version))
	})
	slices.SortFunc(f.Announced, func(a, b Announcement) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), strings.Compare(orEmpty(a.ForkDigest), orEmpty(b.ForkDigest)), strings.Compare(orEmpty(a.NextForkVersion), orEmpty(b.NextForkVersion)),
			cmp.Compare(orZero(a.NextForkEpoch), orZero(b.NextForkEpoch)), strings.Compare(orEmpty(a.NFD), orEmpty(b.NFD)))
	})
	return f
}

// release is one version of a client.
type release struct{ client, version string }

func releaseOf(n *Node) release { return release{n.Client, orEmpty(n.ClientRelease)} }

// releaseSums adds up the estimates of each release's nodes.
func (r *Report) releaseSums() map[release]estimate.ClientSums {
	sums := map[release]estimate.ClientSums{}
	for _, c := range r.reachedCounted() {
		key := releaseOf(c.node)
		if sums[key] == nil {
			sums[key] = estimate.ClientSums{}
		}
		sums[key].Add(c.node.Client, c.estimate, c.weight)
	}
	return sums
}

func (r *Report) forkValidators(next *Expected) *ForkValidators {
	var members []ForkMember
	for _, c := range r.reachedCounted() {
		n := c.node
		members = append(members, ForkMember{next.Of(n.NextForkVersion, n.announcedEpoch, n.NFD), n.Client, c.estimate, c.weight})
	}
	return NewForkValidators(r.model, members)
}

// compareWith notes the schedule at a time, Unix milliseconds, and returns what a record
// should say; nil when no fork follows.
func (f *Forks) compareWith(s *Schedule, at int64) *Expected {
	epoch := s.EpochAt(unix(at))
	f.Network, f.Epoch, f.Current = s.Network, uint64(epoch), s.At(epoch).Digest.String()
	next, ok := s.Next(epoch)
	if f.Scheduled = &ok; !ok {
		return nil
	}
	f.Next = &NextFork{next.Name, uint64(next.FirstEpoch), s.EpochStart(next.FirstEpoch).UnixMilli(), next.ForkVersion.String(), next.Digest.String()}
	return Expect(s.Schedule, epoch)
}

// Expected is what the record of a node announces that is prepared for the next fork; nil when
// no fork is scheduled.
type Expected struct {
	version, digest string
	epoch           uint64
}

// Expect is what records announce at an epoch.
func Expect(s eth2.Schedule, at eth2.Epoch) *Expected {
	if _, ok := s.Next(at); !ok {
		return nil
	}
	id, nfd := s.ForkID(at)
	return &Expected{id.NextForkVersion.String(), nfd.String(), uint64(id.NextForkEpoch)}
}

// Ready compares with what a record announces, nil for what it does not say. A record of before
// nfd announces version and epoch alone. Nothing is known without a next fork, or of a record
// without either.
func (e *Expected) Ready(version *string, epoch *uint64, nfd *string) (ready, known bool) {
	switch {
	case e == nil:
		return false, false
	case nfd != nil:
		return *nfd == e.digest, true
	case version == nil || epoch == nil:
		return false, false
	}
	return *version == e.version && *epoch == e.epoch, true
}

// Of is Ready as one value.
func (e *Expected) Of(version *string, epoch *uint64, nfd *string) Readiness {
	switch ready, known := e.Ready(version, epoch, nfd); {
	case !known:
		return ReadinessUnknown
	case ready:
		return Ready
	}
	return NotReady
}

// count adds a node.
func (v *ForkVersion) count(n *Node, current string, next *Expected) {
	v.Nodes++
	if current != "" && orEmpty(n.ForkDigest) == current {
		v.Current++
	}
	switch ready, known := next.Ready(n.NextForkVersion, n.announcedEpoch, n.NFD); {
	case !known:
		v.Unknown++
	case ready:
		v.Ready++
	default:
		v.NotReady++
	}
}

func count(announced map[string]*Announcement, n *Node) {
	a := Announcement{ForkDigest: n.ForkDigest, NextForkVersion: n.NextForkVersion, NextForkEpoch: n.announcedEpoch, NFD: n.NFD}
	known := announced[a.key()]
	if known == nil {
		known = &a
		announced[a.key()] = known
	}
	known.Nodes++
}

func (a Announcement) key() string {
	epoch := "-"
	if a.NextForkEpoch != nil {
		epoch = fmt.Sprint(*a.NextForkEpoch)
	}
	return strings.Join([]string{orEmpty(a.ForkDigest), orEmpty(a.NextForkVersion), epoch, orEmpty(a.NFD)}, " ")
}
