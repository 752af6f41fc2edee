package devnet

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Churn is how a network's membership changes: the chances, at the start of each
// epoch, of every node with libp2p but the bootnodes. The zero value is a network
// that does not change.
type Churn struct {
	// Leave: a node that is up goes down. Others keep its record.
	Leave float64
	// Return: a node that is down comes back with the address and key it had.
	Return float64
	// Move: a node that is up restarts at another address with the same key.
	Move float64
	// Rekey: a node that is up restarts at its address with another key, and is
	// another node for everyone. The old record stays in the tables for an epoch.
	Rekey float64
}

func (c Churn) validate() error {
	for _, share := range []struct {
		name  string
		value float64
	}{
		{"Churn.Leave", c.Leave}, {"Churn.Return", c.Return}, {"Churn.Move", c.Move}, {"Churn.Rekey", c.Rekey},
		{"Churn.Leave+Move+Rekey", c.Leave + c.Move + c.Rekey},
	} {
		if share.value < 0 || share.value > 1 {
			return &ConfigError{share.name, share.value, "want 0 to 1"}
		}
	}
	return nil
}

// fate is what happens to a node at the start of an epoch.
type fate int

const (
	stay fate = iota
	leave
	comeBack
	move
	rekey
)

// draw decides from x in [0, 1).
func (c Churn) draw(up bool, x float64) fate {
	switch {
	case !up && x < c.Return:
		return comeBack
	case !up:
		return stay
	case x < c.Leave:
		return leave
	case x < c.Leave+c.Move:
		return move
	case x < c.Leave+c.Move+c.Rekey:
		return rekey
	}
	return stay
}

// restart is a node that is to be up again.
type restart struct {
	node  *node
	ports ports
	fresh bool // its key is new
}

// churn lets nodes go down, come back, move and change their key. Who does is a
// matter of the seed and the epoch alone; only a port that somebody else has
// taken meanwhile keeps a node down longer.
func (s *scheduler) churn(ctx context.Context, epoch eth2.Epoch) error {
	for _, n := range s.outdated {
		s.route.remove(s.roster.all(), n)
	}
	s.outdated = nil
	var (
		closing []*node
		opening []restart
		r       = stream(s.cfg.Seed, "churn", uint64(epoch))
	)
	for _, n := range s.roster.all() {
		if n.retired || n.index < bootnodes || !n.hasHost() {
			continue
		}
		up := n.life.Load() != nil
		what := s.cfg.Churn.draw(up, r.Float64())
		if what == leave || what == move || what == rekey {
			closing = append(closing, n)
		}
		switch what {
		case comeBack:
			opening = append(opening, restart{node: n, ports: n.last})
		case move:
			n.addr = s.addrs.next()
			opening = append(opening, restart{node: n})
		case rekey:
			successor, err := s.succeed(n, epoch)
			if err != nil {
				return err
			}
			opening = append(opening, restart{node: successor, ports: n.last, fresh: true})
		}
	}
	if err := s.closeAll(closing); err != nil {
		return err
	}
	return s.openAll(ctx, opening)
}

// succeed makes the node that takes n's place with another key. It is not up yet.
func (s *scheduler) succeed(n *node, epoch eth2.Epoch) (*node, error) {
	p := n.plan
	index := len(s.roster.all())
	if err := p.drawKey(stream(s.cfg.Seed, "rekey", uint64(index))); err != nil {
		return nil, err
	}
	p.index = index
	var err error
	if p.columns, err = eth2.CustodyColumns(p.nodeID, max(p.cgc, minSampledColumns)); err != nil {
		return nil, err
	}
	successor := newNode(p, n.clock, n.record, n.wire, s.cfg, s.log)
	if err := successor.startRecord(s.db); err != nil {
		return nil, err
	}
	n.retired = true
	s.outdated = append(s.outdated, n)
	s.roster.add(successor)
	s.route.grow()
	s.history.add(successor.peerID.String())
	return successor, s.catchUp(successor, epoch)
}

// closeAll takes nodes down; truth has them down before their first connection
// ends.
func (s *scheduler) closeAll(nodes []*node) error {
	now := time.Now()
	g := new(errgroup.Group)
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, n := range nodes {
		if err := s.registry.down(n.peerID.String(), now); err != nil {
			return err
		}
		g.Go(func() error {
			if err := n.down(); err != nil {
				n.log.Debug("closed with an error", slog.Any("err", err))
			}
			return nil
		})
	}
	return g.Wait()
}

// openAll brings nodes up and makes them known; truth has them up after that.
func (s *scheduler) openAll(ctx context.Context, list []restart) error {
	g := new(errgroup.Group)
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, r := range list {
		g.Go(func() error {
			if err := r.node.open(ctx, r.ports); err != nil {
				r.node.log.Debug("stays down", slog.Any("err", err))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil || ctx.Err() != nil {
		return err
	}
	nodes := s.roster.all()
	for _, r := range list {
		n, l := r.node, r.node.life.Load()
		if r.fresh {
			s.registry.add(n.describe())
		}
		if l == nil {
			continue
		}
		n.last = l.ports
		if n.persona != Unlisted {
			s.route.join(nodes, n)
		}
		s.route.fill(nodes, n, stream(s.cfg.Seed, "table", uint64(n.index), uint64(s.slot)))
		if err := s.registry.up(n.describe(), time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// addresses gives loopback addresses that no node has had.
type addresses struct {
	last netip.Addr
	one  bool // the machine has only one
}

func (a *addresses) next() netip.Addr {
	if !a.one {
		a.last = nextHost(a.last)
	}
	return a.last
}
