package estimate

import "iter"

// Learned is what was learned from many nodes.
type Learned struct {
	Prior    Prior
	Spurious Spurious
	Versions []VersionCheck // most nodes first
	// Former is the share of nodes without validators whose custody group count is still that
	// of one to eight; 0 for the assumed one.
	Former float64
}

// Learn fits prior, spurious rates, and how each client version shows duties, which
// depend on each other. evidence is of all nodes to learn from; nodes, which is read more
// than once, are those that calibrate the client versions. It begins with the defaults, so that
// the result depends on nothing else.
func Learn(p Params, evidence []*Evidence, nodes iter.Seq[Node]) Learned {
	const rounds = 2
	spurious := FitSpurious(NewModel(p, DefaultPrior(), nil), evidence)
	base := NewModel(p, DefaultPrior(), spurious)
	l := Learned{Spurious: spurious}
	for range rounds {
		l.Prior, l.Former = fitPrior(l.on(base), evidence)
		l.Versions = Calibrate(l.Model(p), nodes).Versions
	}
	return l
}

// Model is the model with what was learned.
func (l Learned) Model(p Params) *Model {
	return l.on(NewModel(p, l.Prior, l.Spurious))
}

func (l Learned) on(m *Model) *Model {
	m = m.WithVersions(l.Versions)
	if l.Former > 0 {
		m.former = l.Former
	}
	return m
}
