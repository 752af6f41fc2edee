package api

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/report"
	"github.com/chainbound/valtrack/internal/tracker"
)

// detail is what is known about one node beside its row.
type detail struct {
	Counted        bool                    `json:"counted"`
	Why            string                  `json:"why"`
	Signals        signals                 `json:"signals"`
	Days           []report.Day            `json:"days"`
	CustodyHistory []tracker.CustodyChange `json:"custody_history"`
	OtherIDs       []report.OtherID        `json:"other_ids"`
	Endpoints      []tracker.Endpoint      `json:"endpoints,omitempty"`
}

// signals are what each kind of evidence says alone.
type signals struct {
	Custody *interval `json:"custody"`
	Subnets *interval `json:"subnets"`
	Sync    *interval `json:"sync"`
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
	release, p := acquire(s.limits.details, "explanations")
	if p != nil {
		return answer{}, p
	}
	defer release()
	why, tracked := report.Explain(r.view.state, n.Peer)
	d := detail{
		Counted: n.counts(), Why: why, Signals: signals{intervalOf(tracked.Custody), intervalOf(tracked.Subnets), intervalOf(tracked.Sync)},
		Days: tracked.Days, CustodyHistory: tracked.CustodyHistory, OtherIDs: tracked.SameAddress,
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

// observed is one epoch of a node's subscriptions.
type observed struct {
	Epoch      uint64  `json:"epoch"`
	Time       int64   `json:"time"`
	LongLived  []int32 `json:"long_lived_subnets"`
	ShortLived []int32 `json:"short_lived_subnets"`
}

type pastEstimate struct {
	Time       int64  `json:"time"`
	Validators number `json:"validators"`
	Low        number `json:"validators_low"`
	High       number `json:"validators_high"`
}

type observations struct {
	Epochs    []observed     `json:"epochs"`
	Estimates []pastEstimate `json:"estimates"`
}

// observationsTime bounds how long one request may read the datasets.
const observationsTime = 20 * time.Second

// listObservations reads the rows about a node of at most a day.
func listObservations(s *Server, r *request) (answer, *problem) {
	const day = int64(24 * time.Hour / time.Millisecond)
	from, to := r.span()
	if to == math.MaxInt64 {
		to = time.Now().UnixMilli()
		if from > 0 {
			to = min(to, from+day)
		}
	}
	if from == 0 {
		from = max(1, to-day)
	}
	if to-from > day {
		p := newProblem(http.StatusBadRequest, "from and to are %s apart: want at most 24h", (time.Duration(to-from) * time.Millisecond).Round(time.Minute))
		p.Parameter = "from"
		r.fail(p)
	}
	if p := r.done(); p != nil {
		return answer{}, p
	}
	n, p := r.node()
	if p != nil {
		return answer{}, p
	}
	release, p := acquire(s.limits.reads, "readers of the datasets")
	if p != nil {
		return answer{}, p
	}
	defer release()
	ctx, cancel := context.WithTimeout(r.Context(), observationsTime)
	defer cancel()
	out, err := s.readObservations(ctx, n.ID, dataset.Range{From: from, To: to + 1})
	if err != nil {
		return answer{}, s.readProblem(err)
	}
	a := r.data(s, out)
	a.etag = "" // the datasets grow between two views
	return a, nil
}

// readProblem is the problem of an error of the datasets, which is logged.
func (s *Server) readProblem(err error) *problem {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		p := newProblem(http.StatusServiceUnavailable, "reading the datasets took too long: ask for a shorter time, or read the files (/api/v1/datasets)")
		p.retryAfter = 30
		return p
	}
	s.cfg.Log.Warn("cannot read the datasets for an answer", slog.Any("error", err))
	return newProblem(http.StatusInternalServerError, "the datasets cannot be read: the log of the server says why")
}

func (s *Server) readObservations(ctx context.Context, id string, in dataset.Range) (observations, error) {
	out := observations{Epochs: []observed{}, Estimates: []pastEstimate{}}
	err := dataset.Scan(ctx, s.src.DataDir, in, func(row dataset.ValidatorRow) error {
		if row.ID == id && row.ClockErrorMS == nil {
			out.Epochs = append(out.Epochs, observed{
				Epoch: row.Epoch, Time: row.Timestamp, LongLived: emptyNotNil(row.LongLivedSubnets), ShortLived: row.ShortLivedSubnets,
			})
		}
		return nil
	})
	if err != nil && !errors.Is(err, dataset.ErrDamaged) {
		return out, err
	}
	err = dataset.Scan(ctx, s.src.DataDir, in, func(row dataset.EstimateRow) error {
		if row.ID == id {
			out.Estimates = append(out.Estimates, pastEstimate{row.Timestamp, number(row.Validators), number(row.ValidatorsLow), number(row.ValidatorsHigh)})
		}
		return nil
	})
	if err != nil && !errors.Is(err, dataset.ErrDamaged) {
		return out, err
	}
	slices.SortStableFunc(out.Epochs, func(a, b observed) int { return int(b.Time - a.Time) })
	slices.SortStableFunc(out.Estimates, func(a, b pastEstimate) int { return int(b.Time - a.Time) })
	return out, nil
}

func emptyNotNil(list []int32) []int32 {
	if list == nil {
		return []int32{}
	}
	return list
}
