package sentry

import (
	"log/slog"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

const (
	// droughtAfter is how long a start may go without a handshake before the operator is
	// told; for slots of 12 s. A real network gives the first within seconds.
	droughtAfter = 40 * time.Second
	// droughtLeast is the least that it shrinks to with the slot: round trips do not.
	droughtLeast = 5 * time.Second
	// droughtEvery is the time between two warnings, in multiples of the first wait.
	droughtEvery = 15
	// droughtAgain is how many epochs without a handshake are a drought after the first
	// handshake, if two revisit intervals are not longer.
	droughtAgain = 8
	// maxForeignDigests bounds the digests that are counted.
	maxForeignDigests = 256
)

// drought tells the operator why a sentry visits nobody: the wrong network, genesis or exclude
// file, or a fork that we do not have, look like a quiet network otherwise. Only the schedule's
// goroutine uses it. It ends with a handshake, and starts again after long without one.
type drought struct {
	forks     forks
	log       *slog.Logger
	bootnodes int
	excluded  int // of the bootnodes
	// own are the bootnodes' node ids: their records come from the configuration, not from
	// the network.
	own   map[eth2.NodeID]bool
	found int // records of other nodes
	wait  time.Duration
	again time.Duration
	next  time.Time // of a warning, or of a look whether there were handshakes
	over  bool
	base  Stats // when the last handshake was noticed, or the drought began again
	// seen counts the records that came during the drought by why they are not dialled, ""
	// for those that are.
	seen    map[unfit]int
	records int
	// digests counts the records with a digest that is not to be dialled.
	digests map[eth2.ForkDigest]int
}

// unfit is why a record's node is not dialled.
type unfit string

const (
	unfitExcluded unfit = "excluded"
	unfitNoEth2   unfit = "without_eth2"
	unfitDigest   unfit = "other_digest"
	unfitShard    unfit = "other_shard"
	unfitAddress  unfit = "no_usable_address"
)

func newDrought(cfg Config, f forks, now time.Time) *drought {
	wait := max(f.clock.Scale(droughtAfter), droughtLeast)
	d := &drought{
		forks: f, log: cfg.log, bootnodes: len(cfg.bootnodes), wait: wait, next: now.Add(wait),
		again: time.Duration(max(droughtAgain, 2*cfg.Revisit)) * f.clock.EpochDuration(),
		own:   make(map[eth2.NodeID]bool),
	}
	d.begin(Stats{})
	for _, text := range cfg.bootnodes {
		r, err := enr.Parse(text)
		if err != nil {
			continue
		}
		if d.own[r.NodeID] = true; cfg.Exclude.record(&r) {
			d.excluded++
		}
	}
	return d
}

// begin counts from now on.
func (d *drought) begin(s Stats) {
	d.over, d.base, d.records, d.found = false, s, 0, 0
	d.seen, d.digests = make(map[unfit]int), make(map[eth2.ForkDigest]int)
}

// observe counts a record.
func (d *drought) observe(r *enr.Record, why unfit) {
	if d.over {
		return
	}
	d.records++
	if !d.own[r.NodeID] {
		d.found++
	}
	d.seen[why]++
	if why != unfitDigest {
		return
	}
	if _, known := d.digests[r.Eth2.ForkDigest]; known || len(d.digests) < maxForeignDigests {
		d.digests[r.Eth2.ForkDigest]++
	}
}

// due reports whether it is time to check.
func (d *drought) due(now time.Time) bool { return !now.Before(d.next) }

// check warns while there is no handshake.
func (d *drought) check(s Stats, now time.Time) {
	switch {
	case !d.due(now):
		return
	case s.Handshaked != d.base.Handshaked || d.over && s.Watching+d.base.Watching > 0: // a watch can take longer
		d.over, d.base, d.seen, d.digests = true, s, nil, nil
		d.next = now.Add(d.again)
		return
	case d.over:
		d.begin(s)
		d.next = now.Add(droughtEvery * d.wait) // records are few by now
		return
	}
	s = d.since(s)
	if d.diagnosis(s) == notDialledYet && s.Queued > 0 && s.Due == 0 { // as after a restart within an epoch
		d.next = now.Add(d.wait)
		return
	}
	d.next = now.Add(droughtEvery * d.wait)
	attrs := []any{
		slog.Int("records", d.records), slog.Uint64("dialled", s.Dialled), slog.Uint64("connected", s.Connected),
		slog.Int("bootnodes", d.bootnodes), slog.Int("records_of_bootnodes", d.records-d.found), slog.Int("bootnodes_excluded", d.excluded), slog.String("our_digest", d.forks.current(now).String()),
	}
	for _, why := range []unfit{unfitDigest, unfitExcluded, unfitShard, unfitAddress, unfitNoEth2} {
		if n := d.seen[why]; n > 0 {
			attrs = append(attrs, slog.Int(string(why), n))
		}
	}
	if len(d.digests) > 0 {
		digest, nodes := d.commonest()
		attrs = append(attrs, slog.String("their_digest", digest.String()), slog.Int("with_their_digest", nodes))
	}
	if s.Dialled > 0 {
		attrs = append(attrs, slog.Any("outcomes", s.Outcomes))
	}
	if d.base.Handshaked > 0 {
		attrs = append(attrs, slog.Uint64("handshakes_before", d.base.Handshaked))
	}
	d.log.Warn(d.diagnosis(s), attrs...)
}

// since gives what has happened in the drought.
func (d *drought) since(s Stats) Stats {
	s.Dialled, s.Connected = s.Dialled-d.base.Dialled, s.Connected-d.base.Connected
	outcomes := make(map[string]uint64)
	for outcome, n := range s.Outcomes {
		if n -= d.base.Outcomes[outcome]; n > 0 {
			outcomes[outcome] = n
		}
	}
	s.Outcomes = outcomes
	return s
}

// commonest is the digest that most records have, of those that are not to be dialled.
func (d *drought) commonest() (digest eth2.ForkDigest, nodes int) {
	for candidate, n := range d.digests {
		if n > nodes || n == nodes && candidate.String() < digest.String() {
			digest, nodes = candidate, n
		}
	}
	return digest, nodes
}

// notDialledYet is the diagnosis of nodes that could be dialled. It is none while no visit is due.
const notDialledYet = "node records arrive, but none of their nodes has been dialled yet"

// diagnosis is what the operator should look at first.
func (d *drought) diagnosis(s Stats) string {
	most := unfit("")
	for why, n := range d.seen {
		if n > d.seen[most] || n == d.seen[most] && most == "" {
			most = why
		}
	}
	switch {
	case s.Dialled > 0:
		return "peers are dialled, but none has completed a handshake: check the firewall, and that the network and its genesis are right"
	case d.base.Handshaked > 0 && d.found == 0:
		return "handshakes have stopped, and no new node records arrive: check the firewall and this machine's connection"
	case d.bootnodes > 0 && d.excluded == d.bootnodes:
		return "no node can be found: the exclude file covers all bootnodes; remove one from it, or give another with --bootnode"
	case d.records == 0:
		return "no node records arrive: no bootnode answers; check the firewall for UDP, and the bootnodes"
	case d.found == 0 && d.seen[""] == 0:
		return "no node records arrive except the configured ones of the bootnodes: none of these answers, or they know no other node; check the firewall for UDP, and the bootnodes"
	case most == unfitDigest:
		return "node records arrive, but none is of our network and fork: check --network, and the genesis and forks of --network-dir, against their fork digest"
	case most == unfitExcluded:
		return "node records arrive, but the exclude file covers them all: check --exclude"
	case most == unfitShard:
		return "node records arrive, but all belong to other shards: check --shard"
	case most == unfitAddress:
		return "node records arrive, but none has an address that can be dialled: nodes with private addresses need --allow-private"
	case most == unfitNoEth2:
		return "node records arrive, but none is of a consensus node: check the bootnodes"
	}
	return notDialledYet
}

// unfit says why the schedule does not dial the node of a record; "" when it does.
func (s *schedule) unfit(r *enr.Record, now time.Time) unfit {
	switch {
	case s.gate.exclude.record(r):
		return unfitExcluded
	case r.Eth2 == nil || r.PeerID == "":
		return unfitNoEth2
	case !s.forks.ours(r.Eth2.ForkDigest, now):
		return unfitDigest
	case !s.gate.shard.Has(r.NodeID):
		return unfitShard
	case !hasAddress(targetOf(r, s.cfg.AllowPrivate)):
		return unfitAddress
	}
	return ""
}
