package devnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// bootnodes is how many nodes, from the first, are in the bootnode list.
const bootnodes = 3

// Devnet is a running network.
type Devnet struct {
	cfg      Config
	net      network.Network
	roster   *roster
	addrs    *addresses
	db       *enode.DB
	files    *truthFiles
	history  *history
	registry *registry

	cancel context.CancelFunc
	group  *errgroup.Group
	ended  <-chan struct{}
	once   sync.Once
	err    error
}

// Start builds the network and returns when every node answers. It runs until
// Close, or until ctx ends, after which Close must still be called. A bad Config
// gives a *ConfigError.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Devnet, error) {
	began := time.Now()
	cfg = cfg.withDefaults(began)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := &Devnet{cfg: cfg, roster: &roster{}}
	ctx, d.cancel = context.WithCancel(ctx)
	d.group, ctx = errgroup.WithContext(ctx)
	d.ended = ctx.Done()
	if err := d.start(ctx, log); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	log.Info("devnet started", slog.Int("nodes", cfg.Nodes), slog.Duration("took", time.Since(began)))
	return d, nil
}

func (d *Devnet) start(ctx context.Context, log *slog.Logger) error {
	if err := d.build(log); err != nil {
		return err
	}
	if err := d.openHistory(); err != nil {
		return err
	}
	// Nodes open with the state of this moment; once all are open the scheduler
	// catches up with the slots that have passed.
	sched := &scheduler{cfg: d.cfg, clock: d.net.Clock, roster: d.roster, addrs: d.addrs, db: d.db, history: d.history, registry: d.registry, log: log}
	started := time.Now()
	if err := sched.begin(sched.clock.SlotAt(started), started); err != nil {
		return err
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	epoch := d.net.Clock.EpochAt(started)
	nodes := d.roster.all()
	for _, n := range nodes {
		n.setForkEntries(epoch)
		n.setSubnetEntries()
		n.last = n.life.Load().ports
		n.misstate(nodes, sched.slot)
	}
	sched.route = fillTables(nodes, stream(d.cfg.Seed, "tables"))
	if err := d.describe(); err != nil {
		return err
	}
	if err := d.write(started); err != nil {
		return err
	}
	d.group.Go(func() error { return sched.run(ctx) })
	d.group.Go(func() error { return d.attack(ctx) })
	if slices.ContainsFunc(nodes, d.dialsStrangers) {
		d.group.Go(func() error { return d.dialBack(ctx) })
	}
	if slices.ContainsFunc(nodes, (*node).dialsAgain) {
		d.group.Go(func() error { return d.redial(ctx) })
	}
	return nil
}

// build decides the network and its nodes; nothing listens yet.
func (d *Devnet) build(log *slog.Logger) error {
	cfg := d.cfg
	genesisRoot := cfg.GenesisValidatorsRoot()
	schedule, err := eth2.NewSchedule(genesisRoot, cfg.Forks, cfg.Blobs, maxBlobsElectra)
	if err != nil {
		return fmt.Errorf("devnet: %w", err)
	}
	foreign, err := eth2.NewSchedule(root("devnet of others", cfg.Seed), cfg.Forks, cfg.Blobs, maxBlobsElectra)
	if err != nil {
		return fmt.Errorf("devnet: %w", err)
	}
	clock := eth2.Clock{Genesis: cfg.GenesisTime, SlotDuration: cfg.SlotDuration, SlotsPerEpoch: cfg.SlotsPerEpoch}
	begin := clock.EpochAt(time.Now())
	past, err := eth2.NewSchedule(genesisRoot,
		slices.DeleteFunc(slices.Clone(cfg.Forks), func(f eth2.Fork) bool { return f.Epoch > begin }),
		slices.DeleteFunc(slices.Clone(cfg.Blobs), func(b eth2.BlobParameters) bool { return b.Epoch > begin }), maxBlobsElectra)
	if err != nil {
		return fmt.Errorf("devnet: %w", err)
	}
	d.net = network.Network{
		Name:                  Name,
		GenesisTime:           cfg.GenesisTime,
		GenesisValidatorsRoot: genesisRoot,
		Clock:                 clock,
		Schedule:              schedule,
		Forks:                 slices.Clone(cfg.Forks),
		Preset:                eth2.MainnetPreset(),
	}
	d.net.MaxCommitteesPerSlot = uint64(cfg.CommitteesPerSlot)
	plans, addrs, err := planNodes(cfg)
	if err != nil {
		return err
	}
	d.addrs = addrs
	if d.db, err = enode.OpenDB(""); err != nil {
		return fmt.Errorf("devnet: node database: %w", err)
	}
	for _, p := range plans {
		record, wire := schedule, schedule
		switch p.persona {
		case WrongDigest:
			record, wire = foreign, foreign
		case WrongStatus:
			wire = foreign
		case Unaware:
			record, wire = past, past
		}
		n := newNode(p, d.net.Clock, record, wire, cfg, log)
		// The database costs megabytes: all nodes share it.
		if err := n.startRecord(d.db); err != nil {
			return err
		}
		d.roster.add(n)
	}
	return nil
}

func (d *Devnet) openHistory() error {
	var peerIDs []string
	for _, n := range d.roster.all() {
		peerIDs = append(peerIDs, n.peerID.String())
	}
	if d.cfg.Dir == "" {
		d.history, d.registry = newHistory(peerIDs, nil, nil), newRegistry(nil)
		return nil
	}
	if err := os.MkdirAll(d.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("devnet directory: %w", err)
	}
	files, err := openTruthFiles(d.cfg.Dir)
	if err != nil {
		return err
	}
	d.files = files
	d.history, d.registry = newHistory(peerIDs, files.subscriptions, files.metadata), newRegistry(files.lives)
	return nil
}

// open starts every node's host and discv5, a few at a time.
func (d *Devnet) open(ctx context.Context) error {
	g := new(errgroup.Group)
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, n := range d.roster.all() {
		g.Go(func() error { return n.open(ctx, ports{}) })
	}
	return g.Wait()
}

// describe fills in the truth and the bootnodes.
func (d *Devnet) describe() error {
	for i, n := range d.roster.all() {
		d.registry.add(n.describe())
		if n.hasHost() {
			if err := d.registry.up(n.describe(), time.Now()); err != nil {
				return err
			}
		}
		if i < bootnodes {
			d.net.Bootnodes = append(d.net.Bootnodes, n.local.Node().String())
		}
	}
	return d.registry.flush()
}

func (d *Devnet) write(started time.Time) error {
	if d.cfg.Dir == "" {
		return nil
	}
	if err := writeNetworkDir(d.cfg.Dir, d.cfg, d.net.GenesisValidatorsRoot, d.net.Bootnodes); err != nil {
		return err
	}
	return writeTruth(d.cfg.Dir, truthDocument{
		Network:               Name,
		Seed:                  d.cfg.Seed,
		GenesisTime:           d.cfg.GenesisTime.Unix(),
		GenesisValidatorsRoot: d.net.GenesisValidatorsRoot,
		SlotDurationMS:        d.cfg.SlotDuration.Milliseconds(),
		SlotsPerEpoch:         d.cfg.SlotsPerEpoch,
		ActiveValidators:      d.cfg.ActiveValidators,
		CommitteesPerSlot:     d.cfg.CommitteesPerSlot,
		AggregatorProbability: d.cfg.AggregatorProbability,
		Started:               started.UnixMilli(),
		Nodes:                 d.registry.snapshot(),
	})
}

// describe is the node's line in the truth.
func (n *node) describe() Node {
	m := n.metaData()
	t := Node{
		Index:            n.index,
		PeerID:           n.peerID.String(),
		NodeID:           n.nodeID.String(),
		ENR:              n.local.Node().String(),
		Multiaddrs:       []string{},
		Client:           n.profile.kind,
		Version:          n.version,
		Agent:            n.agent,
		OS:               n.os,
		Arch:             n.arch,
		Persona:          n.persona,
		Hostile:          n.persona.hostile(),
		Ours:             n.trait.ours,
		Reachable:        n.trait.reachable,
		Handshake:        n.trait.handshake,
		Hello:            n.trait.hello,
		Outcomes:         append([]string{}, n.trait.outcomes...),
		Transports:       n.transports(),
		Muxers:           n.muxers(),
		Validators:       n.validators,
		CGC:              n.cgc,
		Attnets:          m.Attnets,
		LongLivedSubnets: m.Attnets.Subnets(),
		AllSubnets:       n.allSubnets,
		Syncnets:         n.syncnets,
		ColumnSubnets:    len(n.columns),
	}
	if n.persona == NoAgent {
		t.Client = eth2.ClientUnknown
	}
	if l := n.life.Load(); l != nil {
		t.Multiaddrs = l.multiaddrs()
	}
	return t
}

// Network is the devnet's network, bootnodes included: what network.LoadFS reads
// from Config.Dir.
func (d *Devnet) Network() network.Network { return d.net }

// Truth is what is known of every node.
func (d *Devnet) Truth() Truth {
	return Truth{Nodes: d.registry.snapshot(), registry: d.registry, log: d.history}
}

// Ended is closed when the network has failed, or was closed: its nodes go away then, and Close
// gives the error.
func (d *Devnet) Ended() <-chan struct{} { return d.ended }

// Close stops every node and waits for all goroutines. It gives the first error of
// the run, an unwritable truth file for instance. Further calls give the same.
func (d *Devnet) Close() error {
	d.once.Do(func() {
		d.cancel()
		runErr := d.group.Wait() // no node comes up after this
		nodes := d.roster.all()
		errs := make([]error, len(nodes))
		g := new(errgroup.Group)
		g.SetLimit(4 * runtime.GOMAXPROCS(0))
		for i, n := range nodes {
			g.Go(func() error { errs[i] = n.down(); return nil })
		}
		d.err = errors.Join(runErr, g.Wait(), errors.Join(errs...), d.files.close())
		if d.db != nil {
			d.db.Close()
		}
	})
	return d.err
}
