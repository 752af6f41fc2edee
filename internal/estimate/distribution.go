package estimate

import "slices"

// Probability is that of at most so many validators.
type Probability struct {
	Validators int
	AtMost     float64
}

// maxProbabilities bounds a Distribution.
const maxProbabilities = 128

// Distribution is the posterior of a peer's evidence that Estimate summarises, ascending, up to where
// nothing is left. What Estimate adds to its interval for flags (leaveOpen) is not in it.
func (m *Model) Distribution(e *Evidence) []Probability {
	s := m.borrow()
	defer m.spaces.Put(s)
	w, _ := m.posterior(e, s)
	if m.custodyConflict(e, w) {
		w = m.eachSignal(e, slices.Clone(w), s)
	}
	const rest = 1e-4
	all := []Probability{}
	sum := 0.0
	for i, p := range w {
		sum += p
		all = append(all, Probability{m.grid[i], min(1, sum)})
		if sum > 1-rest {
			break
		}
	}
	return thinned(all, maxProbabilities)
}

// thinned keeps at most so many points, the first and the last among them: those between which the
// probability grows most.
func thinned(all []Probability, most int) []Probability {
	if len(all) <= most {
		return all
	}
	out := []Probability{all[0]}
	step := (all[len(all)-1].AtMost - all[0].AtMost) / float64(most-2)
	for i := 1; i < len(all)-1; i++ {
		if all[i].AtMost-out[len(out)-1].AtMost >= step {
			out = append(out, all[i])
		}
	}
	return append(out, all[len(all)-1])
}
