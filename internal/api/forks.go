package api

import (
	"cmp"
	"slices"
	"time"
)

// forks is how far nodes are prepared for the next fork.
type forks struct {
	Epoch         *uint64        `json:"epoch"`
	CurrentDigest *string        `json:"current_digest"`
	Next          *nextFork      `json:"next"`
	Versions      []forkVersion  `json:"versions"`
	Announced     []announcement `json:"announced"`
}

type nextFork struct {
	Name   string `json:"name"`
	Epoch  uint64 `json:"epoch"`
	At     int64  `json:"at"`
	Digest string `json:"digest"`
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
	NextForkEpoch   *uint64 `json:"next_fork_epoch"` // the tracker does not keep it
	NFD             *string `json:"nfd"`
	Nodes           int     `json:"nodes"`
}

// readiness compares the nodes that count with the fork schedule.
func (v *view) readiness() forks {
	f := forks{Versions: []forkVersion{}, Announced: []announcement{}}
	if v.src.Clock.SlotsPerEpoch > 0 && len(v.src.Schedule.Periods) > 0 {
		epoch := v.src.Clock.EpochAt(time.Now())
		f.Epoch, f.CurrentDigest = new(uint64(epoch)), new(v.src.Schedule.At(epoch).Digest.String())
		if next, ok := v.src.Schedule.Next(epoch); ok {
			f.Next = &nextFork{next.Name, uint64(next.FirstEpoch), v.src.Clock.EpochStart(next.FirstEpoch).UnixMilli(), next.Digest.String()}
		}
	}
	type version struct{ client, release string }
	type said struct{ digest, version, nfd string }
	versions, announced := map[version]*forkVersion{}, map[said]int{}
	for i := range v.nodes {
		n := &v.nodes[i]
		if !n.counts() {
			continue
		}
		key := version{clientName(n), n.release}
		if versions[key] == nil {
			versions[key] = &forkVersion{Client: cmp.Or(key.client, "unknown"), Version: key.release}
		}
		versions[key].count(n, f)
		a := said{digest: n.ForkDigest.String()}
		if n.Record.NextForkVersion != nil {
			a.version = n.Record.NextForkVersion.String()
		}
		if n.Record.NFD != nil {
			a.nfd = n.Record.NFD.String()
		}
		announced[a]++
	}
	for _, g := range v.groups[byRelease] {
		if w := versions[version{orEmpty(g.Code), orEmpty(g.Name)}]; w != nil {
			w.Validators, w.Low, w.High = g.Validators, g.Low, g.High
		}
	}
	for _, w := range versions {
		f.Versions = append(f.Versions, *w)
	}
	for a, nodes := range announced {
		f.Announced = append(f.Announced, announcement{known(a.digest), known(a.version), nil, known(a.nfd), nodes})
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
			cmp.Compare(orEmpty(a.NextForkVersion), orEmpty(b.NextForkVersion)), cmp.Compare(orEmpty(a.NFD), orEmpty(b.NFD)))
	})
}

// count adds a node. Without a scheduled fork, and without nfd in the record, it is not
// known whether the node is ready.
func (w *forkVersion) count(n *node, f forks) {
	w.Nodes++
	w.Current += one(f.CurrentDigest != nil && n.ForkDigest.String() == *f.CurrentDigest)
	switch {
	case f.Next == nil || n.Record.NFD == nil:
		w.Unknown++
	case n.Record.NFD.String() == f.Next.Digest:
		w.Ready++
	default:
		w.NotReady++
	}
}

func (f forks) counts() (c forkCounts) {
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
