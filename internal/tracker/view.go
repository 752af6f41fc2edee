package tracker

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
)

// View is what a data directory's tracker has written: one moment of it.
type View struct {
	Network string
	Learned Learned
	// Applied is the last segment in it; nil for none.
	Applied *uint64
	peers   map[string]*Peer
}

// Read reads a data directory's database, also while a consumer writes it. ErrMissing
// when there is none.
func Read(ctx context.Context, dir string) (*View, error) {
	v := &View{}
	err := inReadOnly(ctx, dir, func(db queryer) error {
		s, err := loadAll(ctx, db)
		if err != nil {
			return damaged(ctx, err)
		}
		*v = View{Network: s.network, Applied: s.applied, peers: s.peers}
		if s.learned != nil {
			v.Learned = *s.learned
		}
		return nil
	})
	return v, err
}

// History is the network by the hour, oldest first; counts are events by name, those
// of visits as visits.<outcome>.
type History struct {
	Totals []Totals
	Counts []HourCounts
}

// HourCounts are one hour's events.
type HourCounts struct {
	Hour   int64 // Unix milliseconds
	Counts map[string]int64
}

// ReadHistory reads the hours in [from, to), Unix milliseconds.
func ReadHistory(ctx context.Context, dir string, from, to int64) (h History, err error) {
	err = inReadOnly(ctx, dir, func(db queryer) error {
		h, err = readHistory(ctx, db, from, to)
		return err
	})
	return h, err
}

func readHistory(ctx context.Context, db queryer, from, to int64) (h History, err error) {
	within := fmt.Sprintf("WHERE hour >= %d AND hour < %d ORDER BY hour", from, to)
	err = each(ctx, db, "SELECT data FROM totals "+within, func(scan func(...any) error) error {
		var t Totals
		if err := scan(fromJSON{&t}); err != nil {
			return err
		}
		h.Totals = append(h.Totals, t)
		return nil
	})
	if err != nil {
		return h, damaged(ctx, err)
	}
	err = each(ctx, db, "SELECT hour, name, n FROM counts "+within, func(scan func(...any) error) error {
		var hour, n int64
		var name string
		if err := scan(&hour, &name, &n); err != nil {
			return err
		}
		if len(h.Counts) == 0 || h.Counts[len(h.Counts)-1].Hour != hour {
			h.Counts = append(h.Counts, HourCounts{hour, map[string]int64{}})
		}
		h.Counts[len(h.Counts)-1].Counts[name] = n
		return nil
	})
	if err != nil {
		return h, damaged(ctx, err)
	}
	return h, nil
}

// inReadOnly opens the database for reading, in one transaction.
func inReadOnly(ctx context.Context, dir string, read func(queryer) error) error {
	path := filepath.Join(dir, File)
	if !exists(dir) {
		return fmt.Errorf("%w in %s", ErrMissing, dir)
	}
	err := inTransaction(ctx, source(path, "ro", "busy_timeout(10000)"), read)
	if err != nil {
		return fmt.Errorf("tracker database %s: %w", path, err)
	}
	return nil
}

func inTransaction(ctx context.Context, source string, read func(queryer) error) (err error) {
	db, err := sql.Open("sqlite", source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if _, err := userVersion(ctx, db); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return damaged(ctx, err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return read(tx)
}

// LastParams are those of the last estimates in a data directory's database; ok is false
// when there is none of the network that can be read.
func LastParams(ctx context.Context, dir, network string) (p estimate.Params, ok bool) {
	var s stored
	err := inReadOnly(ctx, dir, func(db queryer) error { return s.loadMeta(ctx, db) })
	if err != nil || s.network != network || s.learned == nil || s.learned.Params.ActiveValidators == 0 {
		return p, false
	}
	return s.learned.Params.Params(), true
}

// Params are those of the last estimates.
func (v *View) Params() estimate.Params { return v.Learned.Params.Params() }

// Counted lists the nodes that count in totals, by id, and how many peer ids do not
// for their address.
func (v *View) Counted() (nodes []*Peer, twice uint64) { return counted(v.peers) }

// Totals are the network's, from the newest estimates. Hour is that of the newest
// handshake.
func (v *View) Totals() Totals {
	var sum Sums
	nodes, twice := v.Counted()
	newest := int64(0)
	for _, p := range nodes {
		sum.Add(p.Client.Kind, p.Estimate.Estimate)
		newest = max(newest, p.LastHandshake)
	}
	out := sum.totals(estimate.NewModel(v.Params(), estimate.DefaultPrior(), nil), newest)
	out.CountedTwice, out.InboundOnly = twice, inboundOnly(nodes)
	return out
}

// Peer finds a peer by its id, or by its node id as 0x and hex; nil when there is none.
func (v *View) Peer(id string) *Peer {
	if p := v.peers[id]; p != nil || !strings.HasPrefix(id, "0x") {
		return p
	}
	for _, p := range v.peers {
		if p.NodeID != nil && p.NodeID.String() == id {
			return p
		}
	}
	return nil
}

// SameAddress lists the other peers that were found at an address of p's, or have it in
// their record, by their last handshake: the same node under earlier or later ids, or
// others behind it.
func (v *View) SameAddress(p *Peer) (others []*Peer) {
	all := func(p *Peer) []string {
		out := p.endpoints()
		for _, e := range p.Endpoints {
			out = append(out, e.Address)
		}
		return out
	}
	own := all(p)
	for _, o := range v.peers {
		if o.ID != p.ID && slices.ContainsFunc(all(o), func(e string) bool { return slices.Contains(own, e) }) {
			others = append(others, o)
		}
	}
	slices.SortFunc(others, func(a, b *Peer) int {
		return cmp.Or(cmp.Compare(a.LastHandshake, b.LastHandshake), strings.Compare(a.ID, b.ID))
	})
	return others
}

// Day is one day's statistics with one client version.
type Day struct {
	Day    int32 // since 1970
	Client eth2.Client
	*estimate.Statistics
}

// Days gives a peer's statistics, oldest first.
func (v *View) Days(p *Peer) (days []Day, err error) {
	for _, d := range p.days {
		s, err := d.decode()
		if err != nil {
			return nil, fmt.Errorf("peer %s: %w", p.ID, err)
		}
		days = append(days, Day{d.day, *d.client, s})
	}
	return days, nil
}

// Why takes a peer's estimate apart: what its custody groups alone say, what its
// subnets alone say, and the cells that its observations filled and did not.
type Why struct {
	Custody, Subnets estimate.Estimate
	On, Off          uint64
}

// trust is how far what a client version of p's showed is believed: as in the estimate
// for the one that p runs now, by the last tests for those before.
func (v *View) trust(p *Peer, c eth2.Client, own estimate.Habits) estimate.Trust {
	if c == clientOf(p.Client) && p.Estimate != nil {
		return p.Estimate.Trust
	}
	if own.AllDuties(v.Params()) {
		return estimate.TrustCustody
	}
	for _, known := range v.Learned.Versions {
		if known.Kind == c.Kind && known.Release == c.Release() {
			return known.Trust
		}
	}
	return estimate.TrustAll
}

// Why explains an estimate with what was learned last.
func (v *View) Why(p *Peer) Why {
	m := estimate.NewModel(v.Params(), v.Learned.Prior, v.Learned.Spurious)
	e, _ := evidenceOf(p, v.Params(), func(c eth2.Client, own estimate.Habits) estimate.Trust { return v.trust(p, c, own) })
	out := Why{Custody: m.Estimate(estimate.NewEvidence(clientOf(p.Client), p.Custody))}
	out.On, out.Off = e.Cells()
	alone := e.Clone()
	alone.SetCustody(estimate.Custody{})
	out.Subnets = m.Estimate(alone)
	return out
}
