package devnet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/libp2p/go-libp2p/core/network"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// Hostile personas attack whoever crawls the network. They share few addresses, but for
// those that are at another node's.
const (
	// HostileSilent opens TCP connections to whoever it meets in discv5 and says nothing.
	HostileSilent Persona = "hostile_silent"
	// HostileSlow takes nearly as long for each answer as clients allow.
	HostileSlow Persona = "hostile_slow"
	// HostileDead has a record, and nothing listens at its address.
	HostileDead Persona = "hostile_dead"
	// HostileVictim has a record with the address of a healthy node, the victim, and
	// another port each slot.
	HostileVictim Persona = "hostile_victim"
	// HostileFlap changes all its subnets each slot.
	HostileFlap Persona = "hostile_flap"
	// HostileCustody has a custody group count of 8, as for validators that it does not have.
	HostileCustody Persona = "hostile_custody"
	// HostileClaim is at its victim's address, and its record names the victim's UDP port.
	HostileClaim Persona = "hostile_claim"
	// HostileText has control characters in every text that a node chooses: its agent and the
	// version, protocols and addresses that it identifies itself with, a key of its
	// record, and a topic. Every second one answers all but Ping with an error of such text.
	HostileText Persona = "hostile_text"
	// HostileNFD announces a next fork that nobody knows.
	HostileNFD Persona = "hostile_nfd"
	// HostileStreams opens streams without end.
	HostileStreams Persona = "hostile_streams"
	// HostileTopics subscribes to as many and as long topics as it can.
	HostileTopics Persona = "hostile_topics"
)

const (
	// DefaultHostileShare is the share of hostile nodes of HostileMix by name.
	DefaultHostileShare = 0.3
	// hostilePerAddress is how many hostile nodes share an address.
	hostilePerAddress = 30
	// hostileDelay is below the time for which clients wait for the first byte of an answer.
	hostileDelay = 4 * time.Second
	// silentConns is how many connections a HostileSilent node holds.
	silentConns = 20
	// silentTime is how long it holds one that is not closed.
	silentTime = time.Minute
	// attackEvery is the time between two looks for whom to attack.
	attackEvery = 2 * time.Second

	hostileText   = "\x1b[2J\nlevel=ERROR msg=\"\u202eforged\""
	hostileAgent  = "evil/1" + hostileText
	hostileTopics = 2047
)

// firstHostileAddr is the first of the addresses that hostile nodes share.
var firstHostileAddr = netip.AddrFrom4([4]byte{127, 66, 0, 1})

// HostilePersonas lists the hostile personas.
func HostilePersonas() []Persona {
	return []Persona{
		HostileSilent, HostileSlow, HostileDead, HostileVictim, HostileFlap, HostileCustody,
		HostileClaim, HostileText, HostileNFD, HostileStreams, HostileTopics,
	}
}

func (p Persona) hostile() bool { return slices.Contains(HostilePersonas(), p) }

// dead says whether nothing listens at the address in the node's record.
func (p Persona) dead() bool { return p == Dead || p == HostileDead || p == HostileVictim }

// HostileMix has every hostile persona, in equal parts of a share of the nodes.
func HostileMix(share float64) Mix {
	m := Mix{}
	for _, p := range HostilePersonas() {
		m[p] = share / float64(len(HostilePersonas()))
	}
	return m
}

// makeHostile gives the hostile nodes their addresses and victims.
func makeHostile(plans []plan, seed uint64, oneAddress bool) {
	r := stream(seed, "victims")
	var healthy []int
	for i := bootnodes; i < len(plans); i++ {
		if plans[i].persona == Healthy {
			healthy = append(healthy, i)
		}
	}
	hostile := 0
	for i := range plans {
		p := &plans[i]
		if !p.persona.hostile() {
			continue
		}
		if !oneAddress {
			p.addr = firstHostileAddr
			for range hostile / hostilePerAddress {
				p.addr = nextHost(p.addr)
			}
		}
		hostile++
		p.v6, p.validators = false, 0
		if len(healthy) > 0 {
			p.victim = healthy[r.IntN(len(healthy))]
		}
		switch p.persona {
		case HostileClaim:
			p.addr = plans[p.victim].addr
		case HostileCustody:
			p.cgc = eth2.ValidatorCustodyRequirement
		case HostileText:
			p.agent = hostileAgent
		}
	}
}

// misstate puts what is not true into a hostile node's record. It reports whether that
// changed the record.
func (n *node) misstate(nodes []*node, slot eth2.Slot) bool {
	switch n.persona {
	case HostileVictim:
		n.local.SetStaticIP(net.IP(nodes[n.victim].addr.AsSlice()))
		n.local.SetFallbackUDP(int(10_000 + slot%50_000))
		n.local.Set(gethenr.TCP(10_000 + slot*7%50_000))
	case HostileClaim:
		l := nodes[n.victim].life.Load()
		if l == nil {
			return false
		}
		n.local.SetFallbackUDP(int(l.udp))
	case HostileNFD:
		n.local.Set(enr.NFDEntry(eth2.ForkDigest{0xde, 0xad, 0xbe, 0xef}))
	case HostileText:
		n.local.Set(gethenr.WithEntry(hostileText, uint8(1)))
	default:
		return false
	}
	return true
}

// subnetsAt are the attestation subnets that a node is subscribed to whatever its duties.
func (n *node) subnetsAt(epoch eth2.Epoch, slot eth2.Slot) uint64 {
	if n.persona == HostileFlap && slot%2 == 0 {
		return ^uint64(0)
	}
	return subnetMask(n.backbone(epoch))
}

// hostileOptions are what a HostileText node identifies itself with.
func hostileOptions(o *basichost.HostOpts) {
	o.ProtocolVersion += hostileText
	o.AddrsFactory = func(addrs []ma.Multiaddr) []ma.Multiaddr {
		more, err := ma.NewComponent("dns4", hostileText)
		if err != nil {
			return addrs
		}
		return append(slices.Clone(addrs), more.Multiaddr())
	}
}

// saysErrors reports whether the node answers with errors.
func (n *node) saysErrors() bool { return n.persona == HostileText && n.index%2 == 1 }

// answerDelay is how long the node takes for each answer.
func (n *node) answerDelay() time.Duration {
	switch n.persona {
	case Slow:
		return n.slowDelay
	case HostileSlow:
		return hostileDelay
	}
	return 0
}

// attack lets the silent nodes connect to the consensus nodes that the devnet meets in
// discv5, until ctx ends.
func (d *Devnet) attack(ctx context.Context) error {
	var silent []*node
	for _, n := range d.roster.all() {
		if n.persona == HostileSilent {
			silent = append(silent, n)
		}
	}
	if len(silent) == 0 {
		return nil
	}
	free := make(chan struct{}, silentConns*len(silent))
	for wait(ctx, attackEvery) {
		for _, stranger := range d.strangers() {
			if !stranger.IP4.IsValid() || stranger.TCP == 0 {
				continue
			}
			at := netip.AddrPortFrom(stranger.IP4, stranger.TCP)
			for i := 0; len(free) < cap(free) && ctx.Err() == nil && i < cap(free); i++ {
				free <- struct{}{}
				from := silent[i%len(silent)].addr
				d.group.Go(func() error {
					defer func() { <-free }()
					connectSilently(ctx, from, at)
					return nil
				})
			}
		}
	}
	return nil
}

// connectSilently holds a connection until the other side closes it. Errors are what the
// other side defends itself with.
func connectSilently(ctx context.Context, from netip.Addr, to netip.AddrPort) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: hostileDelay}
	conn, err := dialer.DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(silentTime))
	_, _ = io.Copy(io.Discard, conn)
}

// floodStreams opens streams until the connection is closed.
func (s *session) floodStreams(ctx context.Context) {
	for ctx.Err() == nil {
		stream, err := s.conn.NewStream(ctx)
		if err != nil {
			return
		}
		_, _ = stream.Write([]byte("\x13/multistream/1.0.0\n\x0f/ipfs/id/1.0.0\n"))
		_ = stream.Reset()
	}
}

// floodTopics subscribes to long topics of no meaning.
func floodTopics(stream network.Stream) error {
	const perRPC = 200
	for first := 0; first < hostileTopics; first += perRPC {
		topics := make([]topicChange, min(perRPC, hostileTopics-first))
		for i := range topics {
			topics[i] = topicChange{fmt.Sprintf("%s%08d", strings.Repeat("x", 248), first+i), true}
		}
		if err := write(stream, encodeRPC(topics)); err != nil {
			return err
		}
	}
	return nil
}
