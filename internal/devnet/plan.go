package devnet

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	libp2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/chainbound/valtrack/internal/eth2"
)

// plan is what the seed decides about one node.
type plan struct {
	index   int
	key     *ecdsa.PrivateKey
	libp2p  libp2pcrypto.PrivKey
	peerID  peer.ID
	nodeID  eth2.NodeID
	addr    netip.Addr
	profile profile
	persona Persona
	trait   trait

	version, agent, os, arch string

	quic, tcp bool
	v6        bool // libp2p is at ::1, not at addr

	victim int // index of a hostile node's victim

	validators int
	cgc        uint64
	allSubnets bool
	syncnets   eth2.Syncnets
	// columns are the data column subnets sampled: max(8, cgc) groups.
	columns []uint64
	// metaDataVersion is the newest version spoken.
	metaDataVersion int
}

// stream is its own random source for each purpose and number, so that one
// draw more in one place changes nothing in another.
func stream(seed uint64, purpose string, numbers ...uint64) *rand.Rand {
	h := sha256.New()
	h.Write(binary.LittleEndian.AppendUint64([]byte(purpose), seed))
	for _, n := range numbers {
		h.Write(binary.LittleEndian.AppendUint64(nil, n))
	}
	sum := h.Sum(nil)
	return rand.New(rand.NewPCG(binary.LittleEndian.Uint64(sum), binary.LittleEndian.Uint64(sum[8:])))
}

// planNodes decides every node of the network.
func planNodes(cfg Config) ([]plan, *addresses, error) {
	list, err := profilesOf(cfg.Clients)
	if err != nil {
		return nil, nil, err
	}
	personas := cfg.Faults.assign(cfg.Nodes, bootnodes, stream(cfg.Seed, "persona").Shuffle)
	plans := make([]plan, cfg.Nodes)
	addrs := &addresses{last: cfg.FirstAddr}
	if !canListen(cfg.FirstAddr) {
		// Some systems have no other loopback address unless it is configured.
		addrs = &addresses{last: netip.AddrFrom4([4]byte{127, 0, 0, 1}), one: true}
	}
	v6 := canListen(netip.IPv6Loopback())
	for i := range plans {
		p, err := planNode(cfg, list, i, personas[i])
		if err != nil {
			return nil, nil, fmt.Errorf("devnet: plan node %d: %w", i, err)
		}
		if p.addr = addrs.last; i > 0 {
			p.addr = addrs.next()
		}
		deadEnd := p.persona == Dead || p.persona == Gone || p.persona == NoEth2
		p.v6 = v6 && i >= bootnodes && !deadEnd && stream(cfg.Seed, "ipv6", uint64(i)).Float64() < cfg.IPv6
		plans[i] = p
	}
	makeHostile(plans, cfg.Seed, addrs.one)
	return plans, addrs, nil
}

// canListen says whether the address is one of this machine's.
func canListen(a netip.Addr) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// nextHost is the next address that ends neither in 0 nor in 255.
func nextHost(a netip.Addr) netip.Addr {
	for {
		a = a.Next()
		if last := a.As4()[3]; last != 0 && last != 255 {
			return a
		}
	}
}

func planNode(cfg Config, list []profile, i int, persona Persona) (plan, error) {
	r := stream(cfg.Seed, "node", uint64(i))
	p := plan{index: i, persona: persona, trait: traits()[persona], profile: pick(list, i, r)}
	if err := p.drawKey(r); err != nil {
		return plan{}, err
	}
	p.drawAgent(r)
	p.drawTransports(r)
	p.metaDataVersion = 3
	if persona == OldProtocols {
		p.metaDataVersion = 1 + i%2
	}

	p.validators = drawValidators(r)
	if i < len(cfg.Validators) {
		p.validators = cfg.Validators[i]
	}
	p.cgc = drawCustody(r, p.profile.omitsExternal, p.validators)
	p.syncnets = drawSyncnets(r, p.validators, cfg.ActiveValidators)
	if r.Float64() < shareAllSubnets {
		p.allSubnets = true
		p.syncnets = 1<<eth2.SyncCommitteeSubnetCount - 1
	}
	columns, err := eth2.CustodyColumns(p.nodeID, max(p.cgc, minSampledColumns))
	if err != nil {
		return plan{}, err
	}
	p.columns = columns
	return p, nil
}

func (p *plan) drawKey(r *rand.Rand) error {
	for {
		var scalar [32]byte
		for i := 0; i < len(scalar); i += 8 {
			binary.LittleEndian.PutUint64(scalar[i:], r.Uint64())
		}
		key, err := crypto.ToECDSA(scalar[:])
		if err != nil {
			continue // outside the curve's order: a chance of 2^-128
		}
		p.key = key
		if p.libp2p, err = libp2pcrypto.UnmarshalSecp256k1PrivateKey(scalar[:]); err != nil {
			return err
		}
		p.nodeID = eth2.NodeID(enode.PubkeyToIDV4(&key.PublicKey))
		p.peerID, err = peer.IDFromPublicKey(p.libp2p.GetPublic())
		return err
	}
}

// drawAgent gives the node an agent string, and says what of it an agent parser
// can know.
func (p *plan) drawAgent(r *rand.Rand) {
	release := p.profile.releases[r.IntN(len(p.profile.releases))]
	os, arch := "linux", "x86_64"
	if r.IntN(8) == 0 {
		arch = "aarch64"
	}
	if p.persona == NoAgent {
		return
	}
	p.agent, p.version = p.profile.agent(release, os, arch, r)
	if p.profile.platform {
		p.os, p.arch = os, arch
	}
}

// drawTransports: TCP always, but for a few nodes that have only QUIC.
func (p *plan) drawTransports(r *rand.Rand) {
	x, only := r.Float64(), r.Float64()
	p.quic = x < p.profile.quic
	p.tcp = !p.quic || only >= shareQUICOnly
	if p.persona == Gone {
		p.tcp = true // the swallowing address is made with TCP
	}
}

// shareQUICOnly is the share, among the nodes with QUIC, of those without TCP.
const shareQUICOnly = 0.05

func (p *plan) transports() []string {
	out := []string{}
	if p.quic {
		out = append(out, "quic")
	}
	if p.tcp {
		out = append(out, "tcp")
	}
	return out
}

func (p *plan) muxers() []string {
	out := []string{}
	if p.profile.yamux {
		out = append(out, "yamux")
	}
	if p.profile.mplex {
		out = append(out, "mplex")
	}
	return out
}

// longLived are the attestation subnets of MetaData at epoch e.
func (p *plan) longLived(e eth2.Epoch) eth2.Attnets {
	if p.allSubnets && p.profile.allSubnetsInMetaData {
		return allAttnets()
	}
	return eth2.NewAttnets(p.profile.longLived(p.nodeID, e))
}

// backbone are the attestation subnets subscribed to whatever the duties.
func (p *plan) backbone(e eth2.Epoch) eth2.Attnets {
	if p.allSubnets {
		return allAttnets()
	}
	return p.longLived(e)
}

func allAttnets() eth2.Attnets {
	return eth2.Attnets(slices.Repeat([]byte{0xff}, eth2.AttestationSubnetCount/8))
}
