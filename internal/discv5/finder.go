package discv5

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

const (
	// readBuffer is each socket's receive buffer: about 3000 of the largest packets
	// (1280 bytes). Answers come in bursts of several packets from every node being asked.
	readBuffer = 4 << 20
	// workers is the number of nodes asked at the same time. A node that does not answer
	// holds its worker for responseTimeout.
	workers = 112
	// DefaultRevisit is Config.Revisit's default, about one mainnet epoch.
	DefaultRevisit = 6 * time.Minute
	// defaultMaxNodes is Config.MaxNodes' default. A crawl in September 2026 got answers
	// from 29 000 nodes of all chains, and saw 200 000 records that never answered.
	defaultMaxNodes = 100_000
)

// Config says who we are and where discovery listens.
type Config struct {
	// Key is the 32-byte secp256k1 scalar of our identity.
	Key []byte
	// Listen are the addresses to bind, one socket each; empty means 0.0.0.0. An
	// address family that the host does not have is skipped as long as one socket
	// could be bound.
	Listen []netip.Addr
	// Port is the UDP port of every socket; 0 takes any free one.
	Port uint16
	// Advertise is the address in our record; if invalid, the listen
	// address is used, or when that is unspecified the one that other nodes report.
	Advertise netip.Addr
	// TCPPort and QUICPort are the libp2p ports of our record; 0 leaves them out.
	TCPPort, QUICPort uint16
	// Client and Version are the program in our record; an empty Client leaves it out.
	Client, Version string
	// Fork and NFD are what SetFork would set, for a record that is complete before the
	// first packet is sent; a zero Fork leaves the entries out until SetFork is called.
	Fork eth2.ENRForkID
	NFD  eth2.ForkDigest
	// Bootnodes are ENRs in text form.
	Bootnodes []string
	// Known are ENRs in text form from an earlier run: they are queried like found
	// nodes, and emitted when their node answers or others report it. Damaged ones
	// are left out.
	Known []string
	// Skip tells which nodes are excluded: not queried and not emitted, and no packet
	// goes to one of their addresses or is read from it. Skip is called often and from
	// several goroutines. nil skips none.
	Skip func(id eth2.NodeID, addresses ...netip.Addr) bool
	// AllowPrivate lets loopback and private addresses be asked and emitted (enr.MayContact).
	AllowPrivate bool
	// MaxNodes bounds the table of known nodes.
	MaxNodes int
	// Revisit is the longest time between two visits of an answering node that has
	// our digest. Nodes of other chains wait ten times that.
	Revisit time.Duration
	Log     *slog.Logger
}

func (c Config) withDefaults() Config {
	if len(c.Listen) == 0 {
		c.Listen = []netip.Addr{netip.IPv4Unspecified()}
	}
	if c.MaxNodes <= 0 {
		c.MaxNodes = defaultMaxNodes
	}
	if c.Revisit <= 0 {
		c.Revisit = DefaultRevisit
	}
	if c.Skip == nil {
		c.Skip = func(eth2.NodeID, ...netip.Addr) bool { return false }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Finder is one discv5 node.
type Finder struct {
	cfg       Config
	bootnodes []*enode.Node
	port      uint16
	db        *enode.DB
	local     *enode.LocalNode
	udp       *transport
	schemes   *verified
	closeOnce sync.Once

	// What Run has asked so far: FINDNODE requests, those of them for one distant
	// bucket, and the records in their answers.
	requests, far, records atomic.Int64
	refused                refusalCounters
	nodes                  atomic.Int64 // in the crawl's table

	pace *pacer

	mu     sync.Mutex
	digest eth2.ForkDigest
	// forked holds a token when digest has changed.
	forked chan struct{}
}

// New binds the sockets and starts answering. Errors name the bad value: a port in
// use, a bootnode that is no record, a key of the wrong size.
func New(cfg Config) (*Finder, error) {
	cfg = cfg.withDefaults()
	key, err := crypto.ToECDSA(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("discv5 key of %d bytes: %w", len(cfg.Key), err)
	}
	bootnodes, err := parseBootnodes(cfg.Bootnodes)
	if err != nil {
		return nil, err
	}
	conn, err := listen(cfg.Listen, cfg.Port, readBuffer, cfg.Log)
	if err != nil {
		return nil, err
	}
	db, err := enode.OpenDB("") // in memory
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("discv5 node database: %w", err)
	}
	f := &Finder{
		cfg: cfg, bootnodes: bootnodes, port: conn.Port(), db: db,
		local: enode.NewLocalNode(db, key), forked: make(chan struct{}, 1),
		schemes: newVerified(cfg.MaxNodes), pace: newPacer(),
	}
	f.bootnodes = slices.DeleteFunc(f.bootnodes, f.skips)
	f.describe()
	f.udp = newTransport(filteredSockets{conn, cfg.Skip, f.pace}, f.local, key, f.schemes, cfg.Log)
	f.udp.allowPrivate = cfg.AllowPrivate
	return f, nil
}

func parseBootnodes(texts []string) ([]*enode.Node, error) {
	nodes := make([]*enode.Node, 0, len(texts))
	for _, text := range texts {
		n, err := enode.Parse(enode.ValidSchemes, text)
		if err == nil {
			err = n.ValidateComplete()
		}
		if err != nil {
			return nil, fmt.Errorf("bootnode %.100q: %w", text, err)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// describe fills our record: no long-lived subnets, the smallest custody, and the
// ports that are really there.
func (f *Finder) describe() {
	entries := []gethenr.Entry{
		enr.AttnetsEntry(eth2.Attnets{}),
		enr.SyncnetsEntry(0),
		enr.CGCEntry(eth2.CustodyRequirement),
	}
	if f.cfg.Client != "" {
		entries = append(entries, enr.ClientEntry(f.cfg.Client, f.cfg.Version))
	}
	if f.cfg.TCPPort != 0 {
		entries = append(entries, gethenr.TCP(f.cfg.TCPPort))
	}
	if f.cfg.QUICPort != 0 {
		if slices.ContainsFunc(f.cfg.Listen, netip.Addr.Is4) {
			entries = append(entries, enr.QUICEntry(f.cfg.QUICPort))
		}
		if slices.ContainsFunc(f.cfg.Listen, netip.Addr.Is6) {
			entries = append(entries, enr.QUIC6Entry(f.cfg.QUICPort))
		}
	}
	for _, e := range entries {
		f.local.Set(e)
	}
	if f.cfg.Fork != (eth2.ENRForkID{}) {
		f.SetFork(f.cfg.Fork, f.cfg.NFD)
	}
	f.local.SetFallbackUDP(int(f.port))
	for _, a := range f.cfg.Listen {
		if !a.IsUnspecified() {
			f.local.SetStaticIP(a.AsSlice())
		}
	}
	if f.cfg.Advertise.IsValid() {
		f.local.SetStaticIP(f.cfg.Advertise.Unmap().AsSlice())
	}
}

// SetFork puts the eth2 and nfd entries into our record; nodes with this digest are
// asked first. The record's seq grows only when the entries differ.
func (f *Finder) SetFork(id eth2.ENRForkID, nfd eth2.ForkDigest) {
	f.local.Set(enr.Eth2Entry(id))
	f.local.Set(enr.NFDEntry(nfd))
	f.mu.Lock()
	f.digest = id.ForkDigest
	f.mu.Unlock()
	select {
	case f.forked <- struct{}{}:
	default:
	}
}

func (f *Finder) ourDigest() eth2.ForkDigest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.digest
}

// ENR is our record in text form.
func (f *Finder) ENR() string { return f.local.Node().String() }

// Port is the UDP port in use.
func (f *Finder) Port() uint16 { return f.port }

// Nodes is the number of known nodes, at most MaxNodes.
func (f *Finder) Nodes() int { return int(f.nodes.Load()) }

// Close stops answering and frees the sockets. Run must have returned, or its ctx
// have ended. Further calls do nothing.
func (f *Finder) Close() error {
	var err error
	f.closeOnce.Do(func() {
		err = f.udp.close()
		f.db.Close()
	})
	return err
}
