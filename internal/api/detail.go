package api

import (
	"net/http"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/report"
	"github.com/chainbound/valtrack/internal/tracker"
)

// detail is what is known about one node beside its row.
type detail struct {
	Counted        bool                    `json:"counted"`
	Why            string                  `json:"why"`
	Signals        signals                 `json:"signals"`
	Posterior      []probability           `json:"posterior"`
	Evidence       evidence                `json:"evidence"`
	Days           []report.Day            `json:"days"`
	CustodyHistory []tracker.CustodyChange `json:"custody_history"`
	OtherIDs       []report.OtherID        `json:"other_ids"`
	SeenBy         []seenBy                `json:"seen_by"`
	Endpoints      []tracker.Endpoint      `json:"endpoints,omitempty"`
}

// signals are what each kind of evidence says alone.
type signals struct {
	Custody *interval `json:"custody"`
	Subnets *interval `json:"subnets"`
	Sync    *interval `json:"sync"`
}

// probability is that of at most so many validators.
type probability struct {
	Validators int    `json:"validators"`
	P          number `json:"p"`
}

// evidence counts what the signals are made from: places for duties, and for sync committee seats,
// that were filled and that were not.
type evidence struct {
	CellsOn    uint64    `json:"cells_on"`
	CellsOff   uint64    `json:"cells_off"`
	CellRate   *number   `json:"cell_rate"`
	CellRateSD *number   `json:"cell_rate_sd"`
	SyncOn     uint64    `json:"sync_on"`
	SyncOff    uint64    `json:"sync_off"`
	Used       string    `json:"used"`
	LostDays   uint32    `json:"lost_days"`
	Stretches  []stretch `json:"stretches"`
}

// stretch is a time in which the number of validators did not change.
type stretch struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
	interval
}

type interval struct {
	Validators number `json:"validators"`
	Low        number `json:"validators_low"`
	High       number `json:"validators_high"`
}

func intervalOf(e *report.Estimated) *interval {
	if e == nil {
		return nil
	}
	return &interval{number(e.Validators), number(e.ValidatorsLow), number(e.ValidatorsHigh)}
}

// node finds the node that the path names.
func (r *request) node() (*node, *problem) {
	id := r.PathValue("id")
	if n := r.view.find(id); n != nil {
		return n, nil
	}
	if p := r.view.state.Peer(id); p != nil && p.Client.Kind == eth2.ClientValtrack {
		return nil, newProblem(http.StatusNotFound, "%s is another Valtrack sentry, no beacon node", shorten(id))
	}
	return nil, newProblem(http.StatusNotFound, "no node %s: want a whole peer id, or a node id as 0x and 64 hex digits; /api/v1/nodes?q= searches", shorten(id))
}

func getNode(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	n, p := r.node()
	if p != nil {
		return answer{}, p
	}
	release, p := s.limits.details.acquire(r.Context(), r.client)
	if p != nil {
		return answer{}, p
	}
	defer release()
	why, tracked := report.Explain(r.view.state, n.Peer)
	d := detail{
		Posterior: posteriorOf(r.view.state, n.Peer), Evidence: evidenceOf(r.view.state, n.Peer, tracked),
		Counted: n.counts(), Why: why, Signals: signals{intervalOf(tracked.Custody), intervalOf(tracked.Subnets), intervalOf(tracked.Sync)},
		Days: tracked.Days, CustodyHistory: tracked.CustodyHistory, OtherIDs: tracked.SameAddress, SeenBy: seenByOf(tracked.Views),
	}
	if r.caller.full {
		d.Endpoints = tracked.Endpoints
	}
	l := listing{columns: columnsFor(r.caller.full), full: r.caller.full}
	row := l.appendRow(nil, n)
	more := marshal(d)
	row[len(row)-1] = ','
	return r.wrapped(s, append(row, more[1:]...), r.meta()), nil
}

func posteriorOf(state *tracker.State, p *tracker.Peer) []probability {
	out := []probability{}
	for _, x := range state.Distribution(p) {
		out = append(out, probability{x.Validators, number(x.AtMost)})
	}
	return out
}

func evidenceOf(state *tracker.State, p *tracker.Peer, t *report.Tracked) evidence {
	e := evidence{CellsOn: t.CellsOn, CellsOff: t.CellsOff, CellRate: given(t.CellRate), CellRateSD: given(t.CellRateSD), SyncOn: t.SyncOn, SyncOff: t.SyncOff, Used: t.Used, LostDays: t.LostDays, Stretches: []stretch{}}
	if p.Estimate == nil {
		return e
	}
	for _, s := range state.Stretches(p) {
		x := s.Estimate
		e.Stretches = append(e.Stretches, stretch{s.From, s.To, interval{number(x.Median), number(x.Low), number(x.High)}})
	}
	return e
}
