package report

import (
	"fmt"
	"io"
)

// WriteText writes the comparison for people.
func (a Accuracy) WriteText(w io.Writer) error {
	p := newPage(w)
	list := []field{
		{"truth", a.File},
		{"nodes", fmt.Sprintf("%d can complete a handshake, %d are estimated", a.Nodes, a.Estimated)},
	}
	if missing := a.Nodes - a.Estimated; missing > 0 {
		list = append(list, field{"not estimated", fmt.Sprintf("%s of these, with %d validators: not in the numbers below", plural(missing, "node"), a.NotEstimatedValidators)})
	}
	if a.Unreachable > 0 {
		list = append(list, field{"unreachable", fmt.Sprintf("%s that cannot complete a handshake, with %d validators: not in the numbers below", plural(a.Unreachable, "node"), a.UnreachableValidators)})
	}
	if a.OtherFork > 0 {
		list = append(list, field{"other fork", plural(a.OtherFork, "node") + " of the devnet with a record of another network or fork: found but not visited, and not in the numbers below"})
	}
	if a.Unknown > 0 {
		list = append(list, field{"left out", plural(a.Unknown, "node") + " in the data that the truth file lacks: from an earlier devnet in this directory, or joined later"})
	}
	if a.Estimated == 0 {
		p.fields(append(list, field{"no data", "nothing is estimated yet"}))
		return p.writeTo(w)
	}
	interval := ""
	if a.Low != nil {
		interval = fmt.Sprintf(" [%.0f to %.0f]", *a.Low, *a.High)
	}
	list = append(list,
		field{"validators", fmt.Sprintf("%d in truth, %.0f%s estimated on the same nodes", a.Truth, a.Validators, interval)},
		field{"intervals", fmt.Sprintf("%d of %d hold the truth (%s; 90 %% or more are meant to); on these nodes are %d of the %d validators (%s)",
			a.Inside, a.Estimated, share(a.Inside, a.Estimated), a.InsideValidators, a.Truth, share(a.InsideValidators, a.Truth))})
	if a.MedianError != nil {
		list = append(list, field{"error", fmt.Sprintf("half of the %s with ten validators or more are off by %.1f %% at most", plural(a.Large, "node"), 100**a.MedianError)})
	}
	list = append(list, field{"detection", fmt.Sprintf("%d of %s with validators found with a probability of 90 %%, %d without any taken for such",
		a.Found, plural(a.WithValidators, "node"), a.FalselyFound)})
	p.fields(list)
	rows := [][]string{}
	for _, n := range a.List {
		mark := ""
		if !n.Inside {
			mark = "outside"
		}
		rows = append(rows, []string{n.ID, n.Client, fmt.Sprint(n.Truth), n.interval(), mark, fmt.Sprintf("%.1f", n.EpochsWatched)})
	}
	p.table([]column{
		{"NODE", idColumn, 0}, {"CLIENT", plainColumn, 0}, {"TRUTH", plainColumn, 0}, {"ESTIMATE", plainColumn, 0},
		{"INTERVAL", plainColumn, 0}, {"EPOCHS WATCHED", plainColumn, 1},
	}, rows)
	p.legend("[low to high]", "detection", "watch")
	return p.writeTo(w)
}
