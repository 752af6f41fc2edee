package devnet

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gethenr "github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

func TestHostileMixByName(t *testing.T) {
	for name, want := range map[string]float64{"hostile": DefaultHostileShare, "hostile=0.2": 0.2, "hostile=1": 1} {
		m, err := ParseMix(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sum := 0.0
		for p, share := range m {
			sum += share
			if !p.hostile() {
				t.Errorf("%s has %s", name, p)
			}
		}
		if sum < want-1e-9 || sum > want+1e-9 || len(m) != len(HostilePersonas()) {
			t.Errorf("%s: %d personas with a share of %v, want %v", name, len(m), sum, want)
		}
	}
	for _, name := range []string{"hostile=", "hostile=0", "hostile=1.01", "hostile=x", "mixed=3"} {
		if m, err := ParseMix(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

// Each hostile persona is what it says, and the truth says that it is hostile.
func TestHostilePersonas(t *testing.T) {
	t.Parallel()
	cfg := fast(3 * len(HostilePersonas()))
	cfg.Faults = HostileMix(0.3)
	d := start(t, cfg)
	nodes := map[Persona]Node{}
	at := map[netip.Addr]bool{}
	for _, n := range d.Truth().Nodes {
		if n.Hostile != n.Persona.hostile() || n.Hostile && n.Validators != 0 {
			t.Errorf("%s: hostile %v, %d validators", n.Persona, n.Hostile, n.Validators)
		}
		if nodes[n.Persona] = n; n.Hostile && n.Persona != HostileClaim {
			at[d.roster.all()[n.Index].addr] = true
		}
	}
	if len(at) != 1 {
		t.Errorf("the hostile nodes are at %v", at)
	}
	record := func(p Persona) enr.Record {
		return enr.FromNode(d.roster.all()[nodes[p].Index].local.Node())
	}
	victimOf := func(p Persona) enr.Record {
		all := d.roster.all()
		return enr.FromNode(all[all[nodes[p].Index].victim].local.Node())
	}
	if got, want := record(HostileClaim), victimOf(HostileClaim); got.IP4 != want.IP4 || got.UDP != want.UDP || got.TCP == want.TCP {
		t.Errorf("claims %v udp %d tcp %d, the victim is at %v udp %d tcp %d", got.IP4, got.UDP, got.TCP, want.IP4, want.UDP, want.TCP)
	}
	if got, want := record(HostileVictim), victimOf(HostileVictim); got.IP4 != want.IP4 || got.TCP == want.TCP {
		t.Errorf("is at %v tcp %d, its victim at %v tcp %d", got.IP4, got.TCP, want.IP4, want.TCP)
	}
	before := record(HostileVictim)
	eventually(t, "another port of the victim", func() bool { return record(HostileVictim).TCP != before.TCP })
	if nfd := record(HostileNFD).NFD; nfd == nil || *nfd != (eth2.ForkDigest{0xde, 0xad, 0xbe, 0xef}) {
		t.Errorf("next fork digest %v", nfd)
	}
	if n := nodes[HostileCustody]; n.CGC != eth2.ValidatorCustodyRequirement {
		t.Errorf("custody group count %d", n.CGC)
	}
	if n := nodes[HostileText]; !strings.ContainsAny(n.Agent, "\x1b\n") {
		t.Errorf("agent %q", n.Agent)
	}
	var entry uint8
	if err := d.roster.all()[nodes[HostileText].Index].local.Node().Load(gethenr.WithEntry(hostileText, &entry)); err != nil || entry != 1 {
		t.Errorf("key of the record: %d, %v", entry, err)
	}
	flapping := nodes[HostileFlap].PeerID
	eventually(t, "all subnets", func() bool { return len(d.Truth().SubnetsAt(flapping, time.Now())) == eth2.AttestationSubnetCount })
	eventually(t, "few subnets", func() bool { return len(d.Truth().SubnetsAt(flapping, time.Now())) < 8 })
}

// A silent connection stays until the other side closes it.
func TestSilentConnection(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		connectSilently(ctx, netip.MustParseAddr("127.0.0.1"), l.Addr().(*net.TCPAddr).AddrPort())
	}()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if b, err := io.ReadAll(conn); len(b) > 0 || err == nil {
		t.Errorf("read %q, %v", b, err)
	}
	conn.Close()
	<-done
}

func TestHostileSharesAreSeeded(t *testing.T) {
	cfg := Config{Nodes: 100, Seed: 5, Faults: HostileMix(0.3)}.withDefaults(time.Now())
	count := func() (list []Persona) {
		plans, _, err := planNodes(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range plans {
			list = append(list, p.persona)
		}
		return list
	}
	first := count()
	if !slices.Equal(first, count()) {
		t.Error("the same seed gives other personas")
	}
	hostile := 0
	for _, p := range first {
		if p.hostile() {
			hostile++
		}
	}
	if hostile < 28 || hostile > 34 {
		t.Errorf("%d of 100 nodes are hostile", hostile)
	}
}
