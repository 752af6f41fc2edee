package estimate

import (
	"cmp"
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// maxLeadError is by how many slots a client's lead may differ from what its source says.
const maxLeadError = 3

// align moves the duties of each client whose lead, which its source says and nobody measured,
// is off: to the slots in which they coincide with those of the clients that came before. The
// measured ones come first, then those with more duties. Where validators run on nodes of one
// client only, nothing shows, and nothing needs to be moved.
func (d crawledDuties) align(nodes []DutyNode) {
	byClient := map[eth2.ClientKind][]uint64{}
	for i, list := range d.epochs {
		for _, e := range list {
			for _, x := range e.duties {
				byClient[nodes[i].Client] = append(byClient[nodes[i].Client], uint64(e.from)*subnets+x)
			}
		}
	}
	kinds := make([]eth2.ClientKind, 0, len(byClient))
	for kind := range byClient {
		kinds = append(kinds, kind)
	}
	slices.SortFunc(kinds, func(a, b eth2.ClientKind) int {
		return cmp.Or(-compareBool(leadMeasured(a), leadMeasured(b)), cmp.Compare(len(byClient[b]), len(byClient[a])), cmp.Compare(a, b))
	})
	var aligned []uint64
	for _, kind := range kinds {
		list := byClient[kind]
		slices.Sort(list)
		by := 0
		if !leadMeasured(kind) {
			by = bestShift(aligned, list)
		}
		for i := range list {
			list[i] += uint64(by * subnets)
		}
		aligned = append(aligned, list...)
		slices.Sort(aligned)
		if by == 0 {
			continue
		}
		for i, epochs := range d.epochs {
			for k := range epochs {
				if nodes[i].Client == kind {
					epochs[k].from += eth2.Slot(by)
				}
			}
		}
	}
}

// bestShift is by how many slots a list of duties has to be moved to coincide with another; 0
// where no number is clearly better. Both are sorted.
func bestShift(with, list []uint64) (by int) {
	const clearly = 6 // standard deviations
	still := float64(coinciding(with, list, 0))
	most := still
	for k := -maxLeadError; k <= maxLeadError; k++ {
		n := float64(coinciding(with, list, k))
		if n > most && n-still > clearly*math.Sqrt(n+still) {
			by, most = k, n
		}
	}
	return by
}

// coinciding counts the pairs of one duty of each list at the same place, once those of list are
// moved by some slots.
func coinciding(with, list []uint64, by int) (n int) {
	i := 0
	for _, x := range list {
		x += uint64(by * subnets)
		for i < len(with) && with[i] < x {
			i++
		}
		for j := i; j < len(with) && with[j] == x; j++ {
			n++
		}
	}
	return n
}

// leadMeasured reports whether a client's lead was measured on a real node.
func leadMeasured(kind eth2.ClientKind) bool {
	row := rowOf(kind)
	return row != nil && row.measured
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
