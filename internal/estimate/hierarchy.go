package estimate

import (
	"maps"
	"math"
	"slices"

	"github.com/chainbound/valtrack/internal/eth2"
)

// The logarithm of the rate of a release is that of the network, plus what its client differs
// from that, plus what the release differs from its client. Most clients and releases differ
// little, and the others by any factor: see ADR 29.
const networkSD = 0.02

// difference is how far a client, or a release, is from what it belongs to: mostly by little.
type difference struct{ mostly, littleSD, otherSD float64 }

var (
	clientDifference   = difference{0.85, 0.03, 0.5}
	measuredDifference = difference{0.9, 0.03, 0.5} // of clients that were measured on a real node
	releaseDifference  = difference{0.95, 0.025, 0.3}
)

func differenceOf(kind eth2.ClientKind) difference {
	if row := rowOf(kind); row != nil && row.measured {
		return measuredDifference
	}
	return clientDifference
}

const (
	// unprovenSD and unprovenSpread are of a release of which nothing was learned, and of whose
	// client nothing was: half the width of the middle 90 % of the differences together, over
	// that of a standard normal, and the spreads' root mean square.
	unprovenSD, unprovenSpread = 0.17, 0.1
	// newReleaseSD is that for a release whose client's rate is known.
	newReleaseSD = 0.03
)

// rate is by what factor a release's duties show more often than its window says, and the
// standard deviation of that factor's logarithm. spread is that of the rates of the release's nodes.
type rate struct{ factor, sd, spread float64 }

// releaseFit is what is to be fitted of a release: of watches, or of snapshots.
type releaseFit struct {
	kind   eth2.ClientKind
	fit    *rateFit // nil without calibrating nodes
	centre float64  // the logarithm of what the lifetimes of subscriptions say
	// Set by fitRates.
	rate rate
	// mixed reports whether the release's own nodes are of more than one kind.
	mixed bool
}

// fitRates fits the rates of all releases together, exactly on the grid of rates: each release
// learns from its own nodes and, through its client and the network, from the others.
func fitRates(releases []*releaseFit) {
	byClient := map[eth2.ClientKind][]*releaseFit{}
	for _, r := range releases {
		byClient[r.kind] = append(byClient[r.kind], r)
	}
	kinds := slices.Sorted(maps.Keys(byClient))
	toRelease := releaseDifference.kernel()
	fitSpreads(releases)
	net := normalLogs(networkSD)
	up := map[eth2.ClientKind]clientMessage{}
	for _, kind := range kinds {
		c := newClientMessage(byClient[kind], toRelease)
		c.fromNet = differenceOf(kind).kernel()
		c.up = c.all.through(c.fromNet)
		net = net.plus(c.up, 1)
		up[kind] = c
	}
	for _, kind := range kinds {
		c := up[kind]
		down := net.plus(c.up, -1).through(c.fromNet).plus(c.all, 1)
		unfitted := down.through(toRelease)
		for i, r := range byClient[kind] {
			if c.own[i] == nil {
				r.rate.factor, r.rate.sd = unfitted.summary(r.centre)
				continue
			}
			posterior := down.plus(c.message[i], -1).through(toRelease).plus(*c.own[i], 1)
			r.rate.factor, r.rate.sd = posterior.summary(r.centre)
		}
	}
}

// clientMessage is what the releases of a client say of its rate.
type clientMessage struct {
	own     []*logLikelihood // by release, of its own rate; nil without calibrating nodes
	message []logLikelihood  // by release, of the client's
	all     logLikelihood    // the sum of message
	up      logLikelihood    // of the network's
	fromNet kernel
}

func newClientMessage(releases []*releaseFit, toRelease kernel) (c clientMessage) {
	c.own, c.message = make([]*logLikelihood, len(releases)), make([]logLikelihood, len(releases))
	for i, r := range releases {
		if r.fit == nil {
			continue
		}
		likelihood := r.fit.likelihood(nearestSpread(r.rate.spread))
		own := likelihood.shifted(r.centre)
		c.own[i], c.message[i] = &own, own.through(toRelease)
		c.all = c.all.plus(c.message[i], 1)
	}
	return c
}

// fitSpreads sets how much the nodes of each release differ. With 70 % that is as in all other
// releases of the network: nodes differ by how they are operated.
func fitSpreads(releases []*releaseFit) {
	const alike = 0.7
	prior := normalLogs(math.Hypot(clientDifference.otherSD, releaseDifference.otherSD))
	evidence := make([][len(spreads)]float64, len(releases)) // logarithms
	var all [len(spreads)]float64
	for i, r := range releases {
		if r.fit == nil {
			continue
		}
		for k := range spreads {
			evidence[i][k] = r.fit.says[k].plus(prior, 1).logSum()
			all[k] += evidence[i][k]
		}
	}
	for i, r := range releases {
		var others, own [len(spreads)]float64
		for k, s := range spreads {
			others[k] = math.Log(s.prior) + all[k] - evidence[i][k]
		}
		weights := normalised(others[:])
		for k, s := range spreads {
			own[k] = math.Log((1-alike)*s.prior+alike*weights[k]) + evidence[i][k]
		}
		square, wide := 0.0, 0.0
		for k, w := range normalised(own[:]) {
			square += w * spreads[k].sd * spreads[k].sd
			if spreads[k].sd >= heterogeneous {
				wide += w
			}
		}
		r.rate.spread = math.Sqrt(square)
		r.mixed = r.fit != nil && r.fit.nodes >= leastNodes && wide > 0.5
	}
}

func nearestSpread(sd float64) (nearest int) {
	for k, s := range spreads {
		if math.Abs(math.Log(s.sd/sd)) < math.Abs(math.Log(spreads[nearest].sd/sd)) {
			nearest = k
		}
	}
	return nearest
}

// normalised are weights with a sum of 1 from their logarithms.
func normalised(logs []float64) []float64 {
	most, sum := slices.Max(logs), 0.0
	out := make([]float64, len(logs))
	for i, l := range logs {
		out[i] = math.Exp(l - most)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// kernel has the probability of each difference of rates, from -2*rateSteps steps on.
type kernel [2*ratePoints - 1]float64

func (d difference) kernel() (k kernel) {
	sum := 0.0
	for i := range k {
		x := rateStep * float64(i-2*rateSteps)
		normal := func(sd float64) float64 { return math.Exp(-x*x/2/sd/sd) / sd }
		k[i] = d.mostly*normal(d.littleSD) + (1-d.mostly)*normal(d.otherSD)
		sum += k[i]
	}
	for i := range k {
		k[i] /= sum
	}
	return k
}

func normalLogs(sd float64) (l logLikelihood) {
	for i := range l {
		z := rateStep * float64(i-rateSteps) / sd
		l[i] = -z * z / 2
	}
	return l
}

func (l logLikelihood) plus(o logLikelihood, times float64) logLikelihood {
	for i := range l {
		l[i] += times * o[i]
	}
	return l
}

// through is the likelihood of what differs from l's rate as the kernel says.
func (l logLikelihood) through(k kernel) (out logLikelihood) {
	const least = 1e-300
	most := slices.Max(l[:])
	var p [ratePoints]float64
	for i, x := range l {
		p[i] = math.Exp(x - most)
	}
	for i := range out {
		sum := 0.0
		for j, x := range k[2*rateSteps-i:][:ratePoints] {
			sum += x * p[j]
		}
		out[i] = most + math.Log(math.Max(sum, least))
	}
	return out
}

// shifted is the likelihood of the rate relative to another one.
func (l *logLikelihood) shifted(by float64) (out logLikelihood) {
	steps := int(math.Round(by / rateStep))
	for i := range out {
		out[i] = l[min(max(0, i+steps), ratePoints-1)]
	}
	return out
}

// logSum is the logarithm of the sum of the likelihoods.
func (l logLikelihood) logSum() float64 {
	most, sum := slices.Max(l[:]), 0.0
	for _, x := range l {
		sum += math.Exp(x - most)
	}
	return most + math.Log(sum)
}

// summary is the factor, relative to which l is by a logarithm of centre, and its standard deviation: as
// for a normal distribution with its middle 90 %. A rate that is at the edge of the grid is not
// known.
func (l logLikelihood) summary(centre float64) (factor, sd float64) {
	const (
		leastSD      = 0.005
		edge, atEdge = 10, 0.05 // steps, and the probability
		notKnown     = 1
		tail         = 0.05
	)
	p := normalised(l[:])
	mean, outer := 0.0, 0.0
	for i, w := range p {
		mean += w * rateStep * float64(i-rateSteps)
		if i < edge || i >= len(p)-edge {
			outer += w
		}
	}
	low, high := pointAt(p, tail), pointAt(p, 1-tail)
	sd = math.Max(leastSD, (high-low)/2/middle90)
	if outer > atEdge {
		sd = math.Max(sd, notKnown)
	}
	return math.Exp(mean + centre), sd
}

// pointAt is the logarithm of the rate below which a part of the weights is.
func pointAt(p []float64, part float64) float64 {
	sum := 0.0
	for i, w := range p {
		if sum += w; sum >= part {
			return rateStep * (float64(i-rateSteps) + 0.5 - (sum-part)/w)
		}
	}
	return rateStep * rateSteps
}
