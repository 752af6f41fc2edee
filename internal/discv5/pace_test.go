package discv5

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/discv5/wire"
	"github.com/chainbound/valtrack/internal/eth2"
)

// The limits hold in every window, however many packets somebody wants to send.
func TestPace(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	endpoint := netip.MustParseAddrPort("8.8.8.8:9000")
	for _, tt := range []struct {
		name   string
		to     func(i int) netip.AddrPort
		burst  int
		perSec int
	}{
		{"one endpoint", func(int) netip.AddrPort { return endpoint }, endpointBurst, 4},
		{"one on loopback", func(int) netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:9000") }, endpointBurst, 4},
		{"many endpoints of an address", func(i int) netip.AddrPort { return netip.AddrPortFrom(endpoint.Addr(), uint16(i+1)) }, addressBurst, 8},
	} {
		p := newPacer()
		var sent []time.Time
		for i := range 10_000 { // 1000 wishes per second
			now := start.Add(time.Duration(i) * time.Millisecond)
			if at, ok := p.reserve(tt.to(i), now); ok {
				if wait := at.Sub(now); wait < 0 || wait > maxPacketDelay {
					t.Fatalf("%s: a packet waits for %v", tt.name, wait)
				}
				sent = append(sent, at)
			}
		}
		for i, first := range sent {
			for j := i; j < len(sent); j++ {
				window := sent[j].Sub(first)
				if most := float64(tt.burst) + window.Seconds()*float64(tt.perSec); float64(j-i+1) > most+1e-6 {
					t.Fatalf("%s: %d packets within %v", tt.name, j-i+1, window)
				}
			}
		}
		if least := 10 * tt.perSec; len(sent) < least {
			t.Errorf("%s: %d packets in ten seconds, want %d", tt.name, len(sent), least)
		}
	}
}

func TestPaceOfOtherEndpointsIsTheirOwn(t *testing.T) {
	p := newPacer()
	now := time.Unix(1_700_000_000, 0)
	for i := range 1000 {
		for port := range uint16(endpointBurst) {
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 9000)
			if at, ok := p.reserve(to, now); !ok || at != now {
				t.Fatalf("packet %d to %s: %v, %v", port, to, at, ok)
			}
		}
	}
	ready := p.ready(netip.MustParseAddrPort("127.1.0.0:9000"), now)
	if want := now.Add(endpointBurst * endpointInterval); ready != want {
		t.Errorf("the next visit in %v, want %v", ready.Sub(now), want.Sub(now))
	}
	p.sweep(now.Add(time.Minute))
	if n := len(p.endpoints); n != 0 {
		t.Errorf("%d endpoints remembered after a minute", n)
	}
}

func TestPaceIsBounded(t *testing.T) {
	p := newPacer()
	now := time.Unix(1_700_000_000, 0)
	for i := range 2 * maxPaced {
		p.reserve(netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, byte(i >> 16), byte(i >> 8), byte(i)}), 9000), now)
	}
	if len(p.endpoints) > maxPaced || len(p.addresses) > maxPaced {
		t.Errorf("%d endpoints and %d addresses, limit %d", len(p.endpoints), len(p.addresses), maxPaced)
	}
}

// A packet that waits is the one that was written, and others are dropped.
func TestPacketsWaitForTheirTurn(t *testing.T) {
	loopback := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	from, err := listen(loopback, 0, 1<<16, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := listen(loopback, 0, 1<<16, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	paced := filteredSockets{from, func(eth2.NodeID, ...netip.Addr) bool { return false }, newPacer()}
	var buf [8]byte
	for i := range 20 {
		text := fmt.Appendf(buf[:0], "%02d", i)
		if n, err := paced.WriteToUDPAddrPort(text, to.LocalAddr().(*net.UDPAddr).AddrPort()); n != 2 || err != nil {
			t.Fatalf("%d bytes written, %v", n, err)
		}
	}
	if err := to.conns[0].SetReadDeadline(time.Now().Add(waitLong)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, wire.MaxPacket)
	for i := range endpointBurst + 4 {
		n, _, err := to.ReadFromUDPAddrPort(got)
		if err != nil || string(got[:n]) != fmt.Sprintf("%02d", i) {
			t.Errorf("packet %d: %q, %v", i, got[:n], err)
		}
	}
}
