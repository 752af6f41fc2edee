package report

import (
	"strconv"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Tracked explains a node's estimate. Lists are never nil.
type Tracked struct {
	// Together is the estimate, null before the first; Custody and Subnets are what the
	// custody groups and the subnets say each without the other, Sync what the sync committee
	// subnets say alone; null where they say nothing. CellsOn counts the observed cells that
	// were filled, CellsOff those that were not; SyncOn and SyncOff are those of the sync
	// committees, a subnet and a period each.
	Together *Estimated `json:"together"`
	Custody  *Estimated `json:"custody"`
	Subnets  *Estimated `json:"subnets"`
	Sync     *Estimated `json:"sync"`
	CellsOn  uint64     `json:"cells_on"`
	CellsOff uint64     `json:"cells_off"`
	SyncOn   uint64     `json:"sync_on"`
	SyncOff  uint64     `json:"sync_off"`
	// CellRate is θ, the chance that a given validator fills a cell, on average over the cells;
	// CellRateSD is by how much it may be off for this node, as a relative standard deviation.
	// Null without cells.
	CellRate   *float64 `json:"cell_rate"`
	CellRateSD *float64 `json:"cell_rate_sd"`
	// Used says which evidence the estimate is made from, by the client version's tests.
	Used string `json:"used"`
	Days []Day  `json:"days"`
	// LostDays counts days that the consumer could not decode and has dropped: they are not
	// in the estimate. UndecodableDays are still in the database, but not in Days.
	LostDays        uint32                  `json:"lost_days"`
	UndecodableDays uint32                  `json:"undecodable_days"`
	CustodyHistory  []tracker.CustodyChange `json:"custody_history"`
	Endpoints       []tracker.Endpoint      `json:"endpoints"`
	// SameAddress are other peer ids that were found at one of its addresses, by when
	// they were met last.
	SameAddress []OtherID `json:"same_address"`
	// Stretches are the numbers that it has had within the days for which there are statistics,
	// oldest first, when there is more than one: the last is Together.
	Stretches []Stretch `json:"stretches"`
	// Views are what each sentry knows of it, by the sentries' ids.
	Views []NodeView `json:"views"`
}

// Stretch is a time in which a node's number of validators did not change, as far as its
// subnets show. Times are Unix milliseconds, of whole days, UTC.
type Stretch struct {
	From           int64   `json:"from"`
	To             int64   `json:"to"` // exclusive
	Validators     int     `json:"validators"`
	ValidatorsLow  float64 `json:"validators_low"`
	ValidatorsHigh float64 `json:"validators_high"`
}

// Day is one day's observations with one client version.
type Day struct {
	Date          string  `json:"date"`
	Client        string  `json:"client"`
	Version       string  `json:"version"`
	EpochsWatched float64 `json:"epochs_watched"`
	CellsOn       uint64  `json:"cells_on"`
	CellsOff      uint64  `json:"cells_off"`
	Subscriptions uint32  `json:"subscriptions"` // short-lived ones that a watch saw begin
	AllSubnets    bool    `json:"all_subnets"`
}

// OtherID is another peer that was found at an address of the node.
type OtherID struct {
	ID       string `json:"id"`
	LastSeen int64  `json:"last_seen"`
}

// digits rounds to so many significant digits.
func digits(v float64, n int) float64 {
	out, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', n, 64), 64)
	if err != nil {
		return v
	}
	return out
}

// newTracked explains the estimate of a peer of the state.
func newTracked(state *tracker.State, p *tracker.Peer) *Tracked {
	why := state.Why(p)
	out := &Tracked{
		CellsOn: why.On, CellsOff: why.Off, SyncOn: why.SyncOn, SyncOff: why.SyncOff, Used: "nothing: not estimated yet",
		Days: []Day{}, LostDays: p.LostDays, CustodyHistory: append([]tracker.CustodyChange{}, p.CustodyHistory...),
		Endpoints: append([]tracker.Endpoint{}, p.Endpoints...), SameAddress: []OtherID{}, Stretches: []Stretch{}, Views: viewsOf(state, p),
	}
	if p.Estimate != nil && p.Client.Kind != eth2.ClientValtrack {
		if out.Together, out.Used = new(trusted(p.Estimate)), used(p.Estimate.Trust, !measured(state, p)); p.Estimate.AllSubnets {
			if out.Used = "custody: on all attestation subnets, these and the sync committees' are no evidence"; why.SyncOn+why.SyncOff > 0 {
				out.Used = "custody and sync committees: on all attestation subnets, these are no evidence"
			}
		}
		if why.On+why.Off == 0 && !p.Estimate.AllSubnets {
			out.Used += "; nothing of the attestation subnets could be used yet"
		}
		if why.SyncOn+why.SyncOff > 0 {
			out.Sync = new(estimated(why.Sync))
		}
		if p.Custody.Latest > 0 {
			out.Custody = new(estimated(why.Custody))
		}
		if why.On+why.Off > 0 && !p.Estimate.AllSubnets {
			out.Subnets = new(estimated(why.Subnets))
			out.CellRate, out.CellRateSD = new(digits(why.CellRate, 4)), new(digits(why.CellRateSD, 2))
		}
		if p.Estimate.Since > 0 {
			for _, s := range state.Stretches(p) {
				out.Stretches = append(out.Stretches, Stretch{s.From, s.To, s.Estimate.Median, s.Estimate.Low, s.Estimate.High})
			}
		}
	}
	days, undecodable := state.Days(p)
	out.UndecodableDays = undecodable
	slotsPerEpoch := float64(state.Params().Clock.SlotsPerEpoch)
	for _, d := range days {
		e := estimate.NewEvidence(d.Client, estimate.Custody{})
		e.Add(d.Statistics, d.Client)
		on, off := e.Cells()
		out.Days = append(out.Days, Day{
			Date:   time.Unix(int64(d.Day)*24*3600, 0).UTC().Format(time.DateOnly),
			Client: string(d.Client.Kind), Version: d.Client.Release(),
			EpochsWatched: float64(d.WatchedSlots()) / slotsPerEpoch,
			CellsOn:       on, CellsOff: off, Subscriptions: d.Behaviour().Subscribed, AllSubnets: d.AllSubnets(),
		})
	}
	for _, o := range state.SameAddress(p) {
		out.SameAddress = append(out.SameAddress, OtherID{o.ID, o.LastMet()})
	}
	return out
}
