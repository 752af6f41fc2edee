package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteNodes writes one line per node.
func WriteNodes(w io.Writer, nodes []*Node) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tCLIENT\tVERSION\tVALIDATORS\tCGC\tLONG-LIVED\tRULE\tSHORT-LIVED\tOBSERVATIONS\tLAST SEEN\tTRANSPORT")
	for _, n := range nodes {
		cgc, short, estimate, rule := "-", "-", "-", "-"
		if n.SubnetRule != nil {
			rule = *n.SubnetRule
		}
		if n.Estimated != nil {
			estimate = fmt.Sprintf("%d [%.0f to %.0f]", n.Validators, n.ValidatorsLow, n.ValidatorsHigh)
		}
		if n.CustodyGroupCount != nil {
			cgc = fmt.Sprint(*n.CustodyGroupCount)
		}
		if n.ShortLivedSubnets != nil {
			short = fmt.Sprint(len(n.ShortLivedSubnets))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s\n", n.ID, n.Client, printable(orEmpty(n.ClientVersion)), estimate, cgc,
			len(n.LongLivedSubnets), printable(rule), short, n.Observations, clock(n.LastSeen), n.Transport)
	}
	return t.Flush()
}

// WriteText writes the evidence for people: what is known, then one line per handshake
// and one per visit.
func (e Evidence) WriteText(w io.Writer) error {
	if err := WriteNodes(w, []*Node{e.Node}); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if e.Tracked != nil {
		e.Tracked.writeText(t)
	}
	fmt.Fprint(t, "\nHANDSHAKE\tEPOCH\tSEQ\tLONG-LIVED\tSHORT-LIVED\tAGENT\n")
	for _, h := range e.Handshakes {
		short := "no hello"
		if h.ShortLivedSubnets != nil {
			short = numbers(h.ShortLivedSubnets)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\n", clock(h.Timestamp), h.Epoch, h.SeqNumber, numbers(h.LongLivedSubnets), short, printable(h.ClientVersion))
	}
	fmt.Fprint(t, "\nVISIT\tDIRECTION\tTRANSPORT\tOUTCOME\tERROR\n")
	for _, v := range e.Visits {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", clock(v.Started), v.Direction, orEmpty(v.Transport), v.Outcome, printable(orEmpty(v.Error)))
	}
	return t.Flush()
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
	if d.LostDays > 0 {
		fmt.Fprintf(t, "lost\t%d days that could not be decoded\n", d.LostDays)
	}
	if d.UndecodableDays > 0 {
		fmt.Fprintf(t, "damaged\t%d days in tracker.db that cannot be decoded and are not in this list\n", d.UndecodableDays)
	}
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
