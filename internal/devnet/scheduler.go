package devnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/chainbound/valtrack/internal/eth2"
)

// delta is the start (on) or end of a short-lived duty at one node.
type delta struct {
	node   int32
	subnet uint8
	on     bool
}

// scheduler moves every node from slot to slot: duties come and go, long-lived
// subnets rotate, forks happen. What it does at a slot depends on the seed alone.
// One goroutine owns it.
type scheduler struct {
	cfg      Config
	clock    eth2.Clock
	roster   *roster
	addrs    *addresses
	db       *enode.DB
	history  *history
	registry *registry
	route    *routing
	log      *slog.Logger
	// outdated are the nodes whose key is no longer in use and whose record is
	// still in the discv5 tables.
	outdated []*node

	unsaved bool                  // the last slot's truth is not in the files
	deltas  map[eth2.Slot][]delta // by the slot at whose start they happen
	slot    eth2.Slot             // processed last
}

// begin brings every node to the state it has at slot, as if it had been running,
// and logs that as the initial state.
func (s *scheduler) begin(slot eth2.Slot, now time.Time) error {
	s.slot, s.deltas = slot, make(map[eth2.Slot][]delta)
	epoch := s.clock.EpochOf(slot)
	s.plan(epoch)
	s.plan(epoch + 1)
	initial := s.takeDeltas(slot)
	s.history.begin(now)
	for i, n := range s.roster.all() {
		n.setLongLived(n.longLived(epoch))
		if err := s.history.recordMetaData(i, now, n.metaData()); err != nil {
			return err
		}
		if !n.hasHost() {
			continue
		}
		n.subs.update(initial[int32(i)], subnetMask(n.backbone(epoch)), nil)
		n.subs.setDigests(n.digestsAt(epoch))
		if err := s.history.init(i, n.subs.current()); err != nil {
			return err
		}
	}
	return s.history.flush()
}

// plan adds the duties of epoch e.
func (s *scheduler) plan(e eth2.Epoch) {
	for _, n := range s.roster.all() {
		s.planNode(n, e)
	}
}

// planNode adds a node's duties of epoch e. Windows that began before the present
// slot begin now; those that have ended are left out.
func (s *scheduler) planNode(n *node, e eth2.Epoch) {
	if n.validators == 0 || !n.hasHost() || n.retired {
		return
	}
	i := int32(n.index)
	r := stream(s.cfg.Seed, "duties", uint64(i), uint64(e))
	for _, d := range aggregatorDuties(r, n.validators, e, s.cfg.SlotsPerEpoch, s.cfg.CommitteesPerSlot, s.cfg.AggregatorProbability) {
		from, to := n.profile.window(d.slot, s.cfg.SlotsPerEpoch)
		if to <= s.slot {
			continue
		}
		from = max(from, s.slot)
		s.deltas[from] = append(s.deltas[from], delta{i, uint8(d.subnet), true})
		s.deltas[to] = append(s.deltas[to], delta{i, uint8(d.subnet), false})
	}
}

// catchUp brings a new node to its state in the present slot, whose changes have
// already been applied to the others.
func (s *scheduler) catchUp(n *node, epoch eth2.Epoch) error {
	s.planNode(n, epoch)
	s.planNode(n, epoch+1)
	initial := s.takeDeltas(s.slot)[int32(n.index)]
	now := time.Now()
	n.setLongLived(n.longLived(epoch))
	n.setForkEntries(epoch)
	n.setSubnetEntries()
	if err := s.history.recordMetaData(n.index, now, n.metaData()); err != nil {
		return err
	}
	var failed error
	n.subs.update(initial, subnetMask(n.backbone(epoch)), func(c subnetChange) {
		failed = errors.Join(failed, s.history.record(n.index, now, c.subnet, c.on))
	})
	n.subs.setDigests(n.digestsAt(epoch))
	return failed
}

// takeDeltas removes the deltas of a slot and groups them by node.
func (s *scheduler) takeDeltas(slot eth2.Slot) map[int32][]delta {
	byNode := make(map[int32][]delta)
	for _, d := range s.deltas[slot] {
		byNode[d.node] = append(byNode[d.node], d)
	}
	delete(s.deltas, slot)
	return byNode
}

// run processes each slot at its start until ctx ends. After a stall it catches up
// in order.
func (s *scheduler) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(s.clock.SlotStart(s.slot + 1)))
		select {
		case <-ctx.Done():
			return s.flush()
		case <-timer.C:
		}
		for now := s.clock.SlotAt(time.Now()); s.slot < now; {
			s.slot++
			if err := s.advance(ctx); err != nil {
				return fmt.Errorf("devnet slot %d: %w", s.slot, err)
			}
		}
	}
}

// advance does what happens at the start of the present slot.
func (s *scheduler) advance(ctx context.Context) error {
	epoch := s.clock.EpochOf(s.slot)
	newEpoch := uint64(s.slot)%s.cfg.SlotsPerEpoch == 0
	if newEpoch {
		// One epoch of look-ahead is the most that any client has.
		s.plan(epoch + 1)
	}
	deltas := s.takeDeltas(s.slot)
	for i, n := range s.roster.all() {
		if n.retired {
			continue
		}
		if newEpoch {
			if err := s.enterEpoch(n, epoch); err != nil {
				return err
			}
		}
		if n.persona == HostileVictim && n.misstate(s.roster.all(), s.slot) {
			s.route.spread(s.roster.all(), n)
		}
		mine := deltas[int32(i)]
		if !n.hasHost() || (len(mine) == 0 && !newEpoch && n.persona != HostileFlap) {
			continue
		}
		var failed error
		n.subs.update(mine, n.subnetsAt(epoch, s.slot), func(c subnetChange) {
			if err := s.history.record(i, time.Now(), c.subnet, c.on); err != nil {
				failed = err
			}
		})
		if failed != nil {
			return failed
		}
	}
	if newEpoch && s.cfg.Churn != (Churn{}) {
		if err := s.churn(ctx, epoch); err != nil {
			return err
		}
	}
	s.save()
	return nil
}

func (s *scheduler) flush() error { return errors.Join(s.history.flush(), s.registry.flush()) }

// save writes the truth to the files. While that fails, as on a full disk, the network goes on,
// and the next slot tries again.
func (s *scheduler) save() {
	err := s.flush()
	switch {
	case err != nil && !s.unsaved:
		s.log.Error("cannot write the devnet's truth, its nodes go on; retrying at each slot", slog.Any("error", err))
	case err == nil && s.unsaved:
		s.log.Info("the devnet's truth is written again")
	}
	s.unsaved = err != nil
}

// enterEpoch rotates the long-lived subnets and follows the fork schedule, in
// MetaData, topics and record.
func (s *scheduler) enterEpoch(n *node, epoch eth2.Epoch) error {
	changed := false
	if n.setLongLived(n.longLived(epoch)) {
		changed = true
		n.setSubnetEntries()
		if err := s.history.recordMetaData(n.index, time.Now(), n.metaData()); err != nil {
			return err
		}
	}
	if n.record.At(epoch).FirstEpoch == epoch {
		changed = true
		n.setForkEntries(epoch)
	}
	if n.hasHost() {
		n.subs.setDigests(n.digestsAt(epoch))
	}
	// Dead, gone and hostless nodes change nothing any more: their record is old.
	if l := n.life.Load(); changed && l != nil && l.disc != nil {
		s.route.spread(s.roster.all(), n)
	}
	return nil
}
