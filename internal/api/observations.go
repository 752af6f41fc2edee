package api

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"math/bits"
	"net/http"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// observed is what was seen of a node's subscriptions: at a handshake or, of a watch, during one
// epoch or the watched part of it.
type observed struct {
	Epoch      uint64  `json:"epoch"`
	Time       int64   `json:"time"`
	LongLived  []int32 `json:"long_lived_subnets"`
	ShortLived []int32 `json:"short_lived_subnets"`
	Source     string  `json:"source"`
	WatchedMS  *int64  `json:"watched_ms"` // null for a handshake, which shows one moment
}

// Sources of what was observed.
const (
	ofHandshakes = "handshake"
	ofWatches    = "watch"
)

type pastEstimate struct {
	Time       int64  `json:"time"`
	Validators number `json:"validators"`
	Low        number `json:"validators_low"`
	High       number `json:"validators_high"`
	// Trust and Flags are nil in rows of earlier versions.
	Trust *string  `json:"trust"`
	Flags []string `json:"flags"`
}

type observations struct {
	Epochs    []observed     `json:"epochs"`
	Estimates []pastEstimate `json:"estimates"`

	from, to int64
	damaged  int // parts that could not be read
}

const (
	// observationsTime bounds how long one request may read the datasets.
	observationsTime = 20 * time.Second
	observationsSpan = 24 * time.Hour
	// maxObserved bounds the rows of an answer: a day has 225 epochs of mainnet.
	maxObserved = 2000
	// Answers are given again for observationsKept, so many of them.
	observationsKept    = 15 * time.Second
	observationsAnswers = 64
)

// timelines finds what the datasets say about single nodes.
type timelines struct {
	reader *dataset.PeerReader
	recent *lru.Cache[timelineKey, timeline]
}

// timelineKey is a request; bounds that it does not have are 0 and math.MaxInt64.
type timelineKey struct {
	id       string
	from, to int64
}

type timeline struct {
	made time.Time
	observations
}

func newTimelines(dataDir string) *timelines {
	t := &timelines{reader: dataset.NewPeerReader(dataDir)}
	t.recent, _ = lru.New[timelineKey, timeline](observationsAnswers) // fails for sizes below 1 only
	return t
}

func (t *timelines) known(key timelineKey) (observations, bool) {
	found, ok := t.recent.Get(key)
	return found.observations, ok && time.Since(found.made) < observationsKept
}

// listObservations reads the rows about a node of at most a day.
func listObservations(s *Server, r *request) (answer, *problem) {
	from, to := r.span()
	asked := timelineKey{from: from, to: to}
	from, to = r.dayOf(from, to)
	if p := r.done(); p != nil {
		return answer{}, p
	}
	n, p := r.node()
	if p != nil {
		return answer{}, p
	}
	asked.id = n.ID
	out, known := s.timelines.known(asked)
	if !known {
		release, p := s.limits.reads.acquire(r.Context(), r.client)
		if p != nil {
			return answer{}, p
		}
		defer release()
		if out, known = s.timelines.known(asked); !known { // somebody else has read it meanwhile
			out.from, out.to = from, to
			if err := s.readObservations(r.Context(), n, r.view.state.Params(), &out); err != nil {
				return answer{}, s.readProblem(err)
			}
			s.timelines.recent.Add(asked, timeline{time.Now(), out})
		}
	}
	m := struct {
		meta
		From    int64  `json:"from"`
		To      int64  `json:"to"`
		Earlier *int64 `json:"earlier"`
		Damaged int    `json:"damaged_parts"`
	}{meta: r.meta(), From: out.from, To: out.to, Damaged: out.damaged}
	if n.FirstSeen < out.from {
		m.Earlier = new(out.from - 1)
	}
	a := r.wrapped(s, marshal(out), m)
	a.etag = "" // the datasets grow between two views
	return a, nil
}

// dayOf completes the span of a request: the last day, or the day that begins or ends where it
// says.
func (q *query) dayOf(from, to int64) (int64, int64) {
	day := observationsSpan.Milliseconds()
	if to == math.MaxInt64 {
		to = time.Now().UnixMilli()
		if from > 0 {
			to = max(from, min(to, from+day))
		}
	}
	if from == 0 {
		from = max(1, to-day)
	}
	if to-from > day {
		p := newProblem(http.StatusBadRequest, "from and to are %s apart: want at most 24h", (time.Duration(to-from) * time.Millisecond).Round(time.Minute))
		p.Parameter = "from"
		q.fail(p)
	}
	return from, to
}

// readProblem is the problem of an error of the datasets, which is logged.
func (s *Server) readProblem(err error) *problem {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		p := newProblem(http.StatusServiceUnavailable, "reading the datasets took too long: ask for a shorter time, or read the files (/api/v1/datasets)")
		p.retryAfter = 30
		return p
	}
	if errors.Is(err, fs.ErrNotExist) {
		p := newProblem(http.StatusServiceUnavailable, "the files were merged while being read: try again")
		p.retryAfter = 1
		return p
	}
	s.cfg.Log.Warn("cannot read the datasets for an answer", slog.Any("error", err))
	return newProblem(http.StatusInternalServerError, "the datasets cannot be read: see the server's log")
}

// readObservations reads what the datasets have of a node in the span of out.
func (s *Server) readObservations(ctx context.Context, n *node, params estimate.Params, out *observations) error {
	ctx, cancel := context.WithTimeout(ctx, observationsTime)
	defer cancel()
	out.Epochs, out.Estimates = []observed{}, []pastEstimate{}
	in := dataset.Range{From: out.from, To: out.to + 1}
	errs := make([]error, 3)
	errs[0] = dataset.ScanPeer(ctx, s.timelines.reader, n.ID, in, func(row dataset.ValidatorRow) error {
		if row.ClockErrorMS == nil {
			out.add(observed{Epoch: row.Epoch, Time: row.Timestamp, LongLived: emptyNotNil(row.LongLivedSubnets), ShortLived: row.ShortLivedSubnets, Source: ofHandshakes})
		}
		return nil
	})
	errs[1] = dataset.ScanPeer(ctx, s.timelines.reader, n.ID, in, func(row dataset.VisitRow) error {
		if row.Watch != nil && row.ClockErrorMS == nil {
			out.addWatch(row.Watch, params)
		}
		return nil
	})
	errs[2] = dataset.ScanPeer(ctx, s.timelines.reader, n.ID, in, func(row dataset.EstimateRow) error {
		out.Estimates = append(out.Estimates, pastEstimate{row.Timestamp, number(row.Validators), number(row.ValidatorsLow), number(row.ValidatorsHigh), row.Trust, row.Flags})
		return nil
	})
	for _, err := range errs {
		if err != nil && !errors.Is(err, dataset.ErrDamaged) {
			return err
		}
		out.damaged += len(s.damagedParts(err))
	}
	out.finish(n.Attnets)
	return nil
}

// add adds an observation; of too many, the newest stay.
func (o *observations) add(x observed) {
	if o.Epochs = append(o.Epochs, x); len(o.Epochs) == 2*maxObserved {
		o.cut()
	}
}

// cut keeps the newest observations, and lets the span begin where they do.
func (o *observations) cut() {
	slices.SortStableFunc(o.Epochs, func(a, b observed) int { return cmp.Compare(b.Time, a.Time) })
	if len(o.Epochs) > maxObserved {
		o.from = o.Epochs[maxObserved-1].Time
		o.Epochs = slices.DeleteFunc(o.Epochs, func(x observed) bool { return x.Time < o.from })
	}
}

// addWatch adds the epochs of a watch.
func (o *observations) addWatch(w *dataset.Watch, params estimate.Params) {
	log := estimate.WatchLog{From: w.From, To: w.To, Initial: intsOf(w.Initial), Changes: make([]event.SubnetChange, len(w.Changes))}
	for i, c := range w.Changes {
		log.Changes[i] = event.SubnetChange{At: c.At, Subnet: int(c.Subnet), Subscribed: c.Subscribed}
	}
	var long *eth2.Attnets
	if w.Attnets != nil {
		long = new(eth2.Attnets)
		if long.UnmarshalText([]byte(*w.Attnets)) != nil {
			long = nil
		}
	}
	for piece := range log.Epochs(params) {
		x := observed{Time: piece.From, Source: ofWatches, WatchedMS: new(piece.To - piece.From), ShortLived: []int32{}}
		x.Epoch = uint64(params.Clock.EpochAt(time.UnixMilli((piece.From + piece.To) / 2)))
		on := uint64(0)
		for _, subnet := range piece.Initial {
			on |= 1 << subnet
		}
		for _, c := range piece.Changes {
			if c.Subscribed {
				on |= 1 << c.Subnet
			}
		}
		for ; on != 0; on &= on - 1 { // without the long-lived ones, see finish
			x.ShortLived = append(x.ShortLived, int32(bits.TrailingZeros64(on)))
		}
		if long != nil {
			x.LongLived = emptyNotNil(dataset.List(long.Subnets()))
		}
		o.add(x)
	}
}

// finish sorts what was read, the newest first. A watch that does not say which subnets are
// long-lived has those of the handshake before it, or of the newest MetaData.
func (o *observations) finish(newest eth2.Attnets) {
	o.cut()
	long := emptyNotNil(dataset.List(newest.Subnets()))
	for i := len(o.Epochs) - 1; i >= 0; i-- {
		if x := &o.Epochs[i]; x.Source == ofHandshakes {
			long = x.LongLived
		} else {
			if x.LongLived == nil {
				x.LongLived = long
			}
			x.ShortLived = slices.DeleteFunc(x.ShortLived, func(subnet int32) bool { return slices.Contains(x.LongLived, subnet) })
		}
	}
	slices.SortStableFunc(o.Estimates, func(a, b pastEstimate) int { return cmp.Compare(b.Time, a.Time) })
	o.Estimates = slices.DeleteFunc(o.Estimates, func(e pastEstimate) bool { return e.Time < o.from })
}

func intsOf(list []int32) []int {
	out := make([]int, 0, len(list))
	for _, n := range list {
		if n >= 0 && n < eth2.AttestationSubnetCount {
			out = append(out, int(n))
		}
	}
	return out
}

func emptyNotNil(list []int32) []int32 {
	if list == nil {
		return []int32{}
	}
	return list
}

// damagedParts names the damaged parts of an error as table/file, and logs them, each once.
func (s *Server) damagedParts(err error) (names []string) {
	for _, part := range dataset.DamagedParts(err) {
		name := part.Table + "/" + part.File
		if _, said := s.saidDamaged.LoadOrStore(name, true); !said {
			s.cfg.Log.Warn("an answer lacks the rows of a damaged part: see 'valtrack check data'", slog.Any("error", part))
		}
		names = append(names, name)
	}
	return names
}
