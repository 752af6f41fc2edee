package report

import (
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
)

// reachedCounted are the nodes of the totals that the report's range reached.
func (r *Report) reachedCounted() (out []counted) {
	for _, c := range r.counted {
		if c.node.reached() && !c.node.sentry() {
			out = append(out, c)
		}
	}
	return out
}

// counted is a node that counts in totals, with its estimate and its weight there.
type counted struct {
	node     *Node
	estimate estimate.Estimate
	weight   float64
}

// pastRows are the rows of peer_estimates of the newest hour that was added.
type pastRows struct {
	counted []counted
	hour    int64
	active  int64 // validators of the network
}

func (p *pastRows) add(n *Node, row dataset.EstimateRow) {
	if row.Timestamp < p.hour {
		return
	}
	if row.Timestamp > p.hour {
		p.counted, p.hour = nil, row.Timestamp
	}
	p.active = row.ActiveValidators
	weight := 1.0 // rows of earlier versions have none
	if row.Weight != nil {
		weight = *row.Weight
	}
	e := estimate.Estimate{Low: row.ValidatorsLow, Mean: row.ValidatorsMean, Variance: row.ValidatorsSD * row.ValidatorsSD, PValidator: row.PValidator}
	if row.ValidatorsShared != nil {
		e.Shared = *row.ValidatorsShared
	}
	if row.ValidatorsHidden != nil {
		e.Hidden = *row.ValidatorsHidden
	}
	p.counted = append(p.counted, counted{n, e, weight})
}

// model sums the rows up, with the validators that the network had then; nil without rows.
func (p *pastRows) model(params estimate.Params) *estimate.Model {
	if len(p.counted) == 0 {
		return nil
	}
	if p.active > 0 {
		params.ActiveValidators = uint64(p.active)
	}
	params.Balance = estimate.Balance{} // that of then is not known
	return estimate.NewModel(params, estimate.DefaultPrior(), nil)
}
