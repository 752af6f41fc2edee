package report

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Tracked is why a node's estimate is what it is. Lists are never nil.
type Tracked struct {
	// Together is the estimate; Custody and Subnets what the custody groups and what the
	// subnets say without the other. CellsOn of the cells that were observed were filled.
	Together *Estimated `json:"together"`
	Custody  Estimated  `json:"custody"`
	Subnets  Estimated  `json:"subnets"`
	CellsOn  uint64     `json:"cells_on"`
	CellsOff uint64     `json:"cells_off"`
	// Used says how much of the subnets is believed, by the client version's tests.
	Used           string                  `json:"used"`
	Days           []Day                   `json:"days"`
	CustodyHistory []tracker.CustodyChange `json:"custody_history"`
	Endpoints      []tracker.Endpoint      `json:"endpoints"`
	// SameAddress are other peer ids that were found at one of its addresses, by their
	// last handshake.
	SameAddress []OtherID `json:"same_address"`
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

// OtherID is a peer with an address of the node's.
type OtherID struct {
	ID       string `json:"id"`
	LastSeen int64  `json:"last_seen"`
}

// tracked takes a node's estimate apart; nil for a node that is not tracked.
func (r *Report) tracked(id string) (*Tracked, error) {
	if r.view == nil {
		return nil, nil
	}
	p := r.view.Peer(id)
	if p == nil {
		return nil, nil
	}
	why := r.view.Why(p)
	out := &Tracked{
		Custody: estimated(why.Custody), Subnets: estimated(why.Subnets), CellsOn: why.On, CellsOff: why.Off,
		Days: []Day{}, CustodyHistory: append([]tracker.CustodyChange{}, p.CustodyHistory...),
		Endpoints: append([]tracker.Endpoint{}, p.Endpoints...), SameAddress: []OtherID{},
	}
	if p.Estimate != nil {
		together := estimated(p.Estimate.Estimate)
		out.Together, out.Used = &together, used(p.Estimate.Trust)
	}
	days, err := r.view.Days(p)
	if err != nil {
		return nil, err
	}
	for _, d := range days {
		e := estimate.NewEvidence(d.Client, estimate.Custody{})
		e.Add(d.Statistics, estimate.TrustAll)
		on, off := e.Cells()
		out.Days = append(out.Days, Day{
			Date:   time.Unix(int64(d.Day)*24*3600, 0).UTC().Format(time.DateOnly),
			Client: string(d.Client.Kind), Version: d.Client.Release(),
			EpochsWatched: float64(d.WatchedSlots()) / float64(r.view.Params().Clock.SlotsPerEpoch),
			CellsOn:       on, CellsOff: off, Subscriptions: d.Habits().Subscribed, AllSubnets: d.AllSubnets(),
		})
	}
	for _, o := range r.view.SameAddress(p) {
		out.SameAddress = append(out.SameAddress, OtherID{o.ID, o.LastHandshake})
	}
	return out, nil
}

func (d *Tracked) writeText(t *tabwriter.Writer) {
	fmt.Fprint(t, "\nVALIDATORS\tMEDIAN\t90 %\tMEAN\tAT LEAST ONE\tSTAKE\n")
	row := func(name string, e Estimated) {
		fmt.Fprintf(t, "%s\t%d\t%.0f to %.0f\t%.1f\t%.1f %%\t%.0f ETH\n", name, e.Validators, e.ValidatorsLow, e.ValidatorsHigh, e.ValidatorsMean, 100*e.PValidator, e.StakeETH)
	}
	if d.Together != nil {
		row("estimate", *d.Together)
	}
	row("custody groups alone", d.Custody)
	row("subnets alone", d.Subnets)
	fmt.Fprintf(t, "\nused\t%s\n", d.Used)
	fmt.Fprintf(t, "cells\t%d filled, %d empty\n", d.CellsOn, d.CellsOff)
	fmt.Fprint(t, "\nDAY\tCLIENT\tVERSION\tEPOCHS WATCHED\tFILLED\tEMPTY\tSUBSCRIPTIONS\n")
	for _, x := range d.Days {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.1f\t%d\t%d\t%d\n", x.Date, x.Client, printable(x.Version), x.EpochsWatched, x.CellsOn, x.CellsOff, x.Subscriptions)
	}
	fmt.Fprint(t, "\nCUSTODY GROUPS\tFROM\n")
	for _, c := range d.CustodyHistory {
		fmt.Fprintf(t, "%d\t%s\n", c.Count, clock(c.At))
	}
	fmt.Fprint(t, "\nADDRESS\tFROM\tTO\n")
	for _, e := range d.Endpoints {
		fmt.Fprintf(t, "%s\t%s\t%s\n", e.Address, clock(e.First), clock(e.Last))
	}
	for _, o := range d.SameAddress {
		fmt.Fprintf(t, "also found there\t%s\t%s\n", o.ID, clock(o.LastSeen))
	}
}
