package estimate

import (
	"math"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	// shareAllSyncnets is the assumed share of nodes that keep all four sync committee subnets
	// by choice, without seats.
	shareAllSyncnets = 0.01
	// shareOddSyncnets is the assumed share of those that are on some of them for other reasons.
	shareOddSyncnets = 0.001
	// assumedMean is the mean multiple of 32 ETH where the mean balance is not known.
	assumedMean = 1.3
	// oddSyncSets is how many sets of some of the sync committee subnets there are, but not all.
	oddSyncSets = 1<<eth2.SyncCommitteeSubnetCount - 2
)

// syncAlternative is the share of nodes that are on the sync committee subnets that showed for
// another reason than seats, and the logarithm of the likelihood of what showed then. One set
// that stays over the periods is one fact, however many periods there are.
func syncAlternative(c syncCells) (share, log float64) {
	switch {
	case c.on == 0:
		return 0, 0
	case c.off == 0:
		return shareAllSyncnets, 0
	case c.same:
		return shareOddSyncnets, -math.Log(oddSyncSets)
	}
	return shareOddSyncnets, -float64(c.on+c.off) * math.Ln2
}

// addSync adds the logarithms of the likelihood of sync committee subnets. Where some were on,
// there is another explanation than seats.
func (m *Model) addSync(w []float64, c syncCells) {
	if c.on+c.off == 0 {
		return
	}
	seats := m.seats(c.counts)
	share, other := syncAlternative(c)
	if share == 0 {
		for i := range w {
			w[i] += seats[i]
		}
		return
	}
	for i := range w {
		w[i] += math.Log(share*math.Exp(other) + (1-share)*math.Exp(seats[i]))
	}
}

// oddSync is the probability, under the weights w, that a node is on some sync committee
// subnets and has no seats there.
func (m *Model) oddSync(e *Evidence, w []float64) (sum float64) {
	c := e.sync
	if c.on == 0 || c.off == 0 {
		return 0
	}
	seats := m.seats(c.counts)
	share, other := syncAlternative(c)
	odd := share * math.Exp(other)
	for i, p := range w {
		sum += p * odd / (odd + (1-share)*math.Exp(seats[i]))
	}
	return sum
}

// seats has, for each number of validators, the logarithm of how likely their seats are on so
// many sync committee subnets, a subnet and a period each, and on no others. Seats go by
// effective balance: all of a node's validators have the same multiple of 32 ETH, as is assumed for
// custody; the network's mean is lower, as larger nodes hold less each. Seats are drawn with
// replacement (altair/beacon-chain.md, get_next_sync_committee_indices).
func (m *Model) seats(c counts) []float64 {
	return m.sync.of(c, func() []float64 {
		const least = 1e-300
		multiples, mean := compounding(), assumedMean
		if b := m.params.Balance; b.Known() {
			mean = max(1, b.Mean/ethPerUnit)
		}
		eps := defaultSpurious / eth2.SyncCommitteeSubnetCount
		drawn := float64(max(1, m.params.Preset.SyncCommitteeSize)) / eth2.SyncCommitteeSubnetCount
		logs := make([]float64, len(m.grid))
		for i, v := range m.grid {
			sum := 0.0
			for j, x := range multiples {
				none := (1 - eps) * math.Exp(float64(v)*drawn*math.Log1p(-min(0.999999, x/mean/float64(m.params.active()))))
				sum += m.multiples[j] * math.Pow(1-none, float64(c.on)) * math.Pow(none, float64(c.off))
			}
			logs[i] = math.Log(math.Max(sum, least))
		}
		return logs
	})
}
