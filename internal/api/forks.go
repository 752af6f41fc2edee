package api

import (
	"cmp"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/report"
)

// forks is how far nodes are prepared for the next fork.
type forks struct {
	Epoch         *uint64                `json:"epoch"`
	CurrentDigest *string                `json:"current_digest"`
	Scheduled     *bool                  `json:"scheduled"`
	Next          *nextFork              `json:"next"`
	Validators    *report.ForkValidators `json:"validators"`
	Versions      []forkVersion          `json:"versions"`
	Announced     []announcement         `json:"announced"`
}

type nextFork struct {
	Name        string `json:"name"`
	Epoch       uint64 `json:"epoch"`
	At          int64  `json:"at"`
	ForkVersion string `json:"fork_version"`
	Digest      string `json:"digest"`
}

type forkVersion struct {
	Client     string  `json:"client"`
	Version    string  `json:"version"`
	Nodes      int     `json:"nodes"`
	Current    int     `json:"current"`
	Ready      int     `json:"ready"`
	NotReady   int     `json:"not_ready"`
	Unknown    int     `json:"unknown"`
	Validators *number `json:"validators"`
	Low        *number `json:"validators_low"`
	High       *number `json:"validators_high"`
}

// announcement is what nodes say about forks: the digest in the Status, and the record.
type announcement struct {
	ForkDigest      *string `json:"fork_digest"`
	NextForkVersion *string `json:"next_fork_version"`
	NextForkEpoch   *uint64 `json:"next_fork_epoch"` // eth2.FarFutureEpoch for no next fork
	NFD             *string `json:"nfd"`
	Nodes           int     `json:"nodes"`

	current      bool
	ready, known bool // for the next fork; not ready where it is not known
}

// said is what is compared of announcements.
type said struct {
	status  eth2.ForkDigest
	version eth2.Version
	epoch   eth2.Epoch
	nfd     eth2.ForkDigest
	has     [3]bool
}

func saidBy(n *node) said {
	r := &n.Record
	return said{n.ForkDigest, orZero(r.NextForkVersion), orZero(r.NextForkEpoch), orZero(r.NFD), [3]bool{r.NextForkVersion != nil, r.NextForkEpoch != nil, r.NFD != nil}}
}

// announcementOf compares what a node says with the current digest and the next fork, nil where
// they are not known.
func announcementOf(n *node, current *string, next *report.Expected) *announcement {
	a := &announcement{
		ForkDigest: new(n.ForkDigest.String()), NextForkVersion: stringOf(n.Record.NextForkVersion), NextForkEpoch: (*uint64)(n.Record.NextForkEpoch), NFD: stringOf(n.Record.NFD),
	}
	a.current = current != nil && *a.ForkDigest == *current
	a.ready, a.known = next.Ready(a.NextForkVersion, a.NextForkEpoch, a.NFD)
	return a
}

// readiness compares the nodes that count with the fork schedule.
func (v *view) readiness() forks {
	f := forks{Versions: []forkVersion{}, Announced: []announcement{}}
	var expected *report.Expected
	if v.src.Clock.SlotsPerEpoch > 0 && len(v.src.Schedule.Periods) > 0 {
		epoch := v.src.Clock.EpochAt(time.Now())
		f.Epoch, f.CurrentDigest = new(uint64(epoch)), new(v.src.Schedule.At(epoch).Digest.String())
		next, ok := v.src.Schedule.Next(epoch)
		if f.Scheduled = &ok; ok {
			f.Next = &nextFork{next.Name, uint64(next.FirstEpoch), v.src.Clock.EpochStart(next.FirstEpoch).UnixMilli(), next.ForkVersion.String(), next.Digest.String()}
		}
		expected = report.Expect(v.src.Schedule, epoch)
	}
	type version struct{ client, release string }
	versions, announced := map[version]*forkVersion{}, map[said]*announcement{}
	var members []report.ForkMember
	for i := range v.nodes {
		n := &v.nodes[i]
		if !n.counts() {
			continue
		}
		key := version{clientName(n), n.release}
		if versions[key] == nil {
			versions[key] = &forkVersion{Client: cmp.Or(key.client, "unknown"), Version: key.release}
		}
		says := saidBy(n)
		if announced[says] == nil {
			announced[says] = announcementOf(n, f.CurrentDigest, expected)
		}
		announced[says].Nodes++
		versions[key].count(announced[says])
		members = append(members, report.ForkMember{Readiness: announced[says].readiness(), Client: string(n.Client.Kind), Estimate: n.Estimate.Estimate, Weight: n.weight})
	}
	if f.Next != nil {
		f.Validators = report.NewForkValidators(estimate.NewModel(v.state.Params(), estimate.DefaultPrior(), nil), members)
	}
	for _, g := range v.groups[byRelease] {
		if w := versions[version{orEmpty(g.Code), orEmpty(g.Name)}]; w != nil {
			w.Validators, w.Low, w.High = g.Validators, g.Low, g.High
		}
	}
	for _, w := range versions {
		f.Versions = append(f.Versions, *w)
	}
	for _, a := range announced {
		f.Announced = append(f.Announced, *a)
	}
	f.sort()
	return f
}

func (f *forks) sort() {
	slices.SortFunc(f.Versions, func(a, b forkVersion) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Client, b.Client), cmp.Compare(b.Version, a.Version))
	})
	slices.SortFunc(f.Announced, func(a, b announcement) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(orEmpty(a.ForkDigest), orEmpty(b.ForkDigest)),
			cmp.Compare(orEmpty(a.NextForkVersion), orEmpty(b.NextForkVersion)), cmp.Compare(orZero(a.NextForkEpoch), orZero(b.NextForkEpoch)), cmp.Compare(orEmpty(a.NFD), orEmpty(b.NFD)))
	})
}

// count adds a node that announces a.
func (w *forkVersion) count(a *announcement) {
	w.Nodes++
	w.Current += one(a.current)
	switch a.readiness() {
	case report.Ready:
		w.Ready++
	case report.NotReady:
		w.NotReady++
	default:
		w.Unknown++
	}
}

func (a *announcement) readiness() report.Readiness {
	switch {
	case !a.known:
		return report.ReadinessUnknown
	case a.ready:
		return report.Ready
	}
	return report.NotReady
}

func (f forks) counts() (c forkCounts) {
	c.Scheduled, c.Validators = f.Scheduled, f.Validators
	if f.Next != nil {
		c.Next = &f.Next.Name
	}
	for _, w := range f.Versions {
		c.Ready += w.Ready
		c.NotReady += w.NotReady
		c.Unknown += w.Unknown
	}
	return c
}

func getForks(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	return r.data(s, r.view.forks), nil
}
