package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// realPeers has the addresses of real peers, one per line.
const realPeers = "internal/geo/testdata/peers.txt"

// places compares the consumer with itself over the events of the same peers: at private addresses,
// which have no place and no network; in the networks of real peers; and anywhere, which is the
// worst case, as nearly every peer has a city of its own then.
func places(ctx context.Context, o options, w io.Writer) error {
	dir, err := os.MkdirTemp("", "valtrack-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	like, err := likePeers(realPeers)
	if err != nil {
		return err
	}
	sides := []struct {
		name    string
		address func() func() netip.Addr
	}{{"private", private}, {"peers", like}, {"anywhere", anywhere}}
	fmt.Fprintf(w, "%d events a run, of %d peers.\n\n", o.events, ingestPeers)
	fmt.Fprint(w, "| round | addresses | CPU s per million events | events/s | peak memory |\n|---|---|---|---|---|\n")
	took := make([][]float64, len(sides))
	for round := range o.rounds {
		for n := range sides {
			n = (n + round) % len(sides) // none is always the first
			r := ingestRound{options: o, dir: filepath.Join(dir, strconv.Itoa(round)+sides[n].name), data: newPeerEvents(ingestPeers, o.handshakes, sides[n].address())}
			if err := r.withBroker(ctx, "", []string{oursDurable}, []func(context.Context) error{r.ours}); err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, sides[n].name, err)
			}
			i := r.runs[0]
			fmt.Fprintf(w, "| %d | %s | %.2f | %.0f | %.0f MiB |\n", round+1, sides[n].name, i.perMillion(), float64(i.events)/i.wall.Seconds(), mebibytes(i.peak))
			took[n] = append(took[n], i.perMillion())
			if err := os.RemoveAll(r.dir); err != nil {
				return err
			}
		}
	}
	none, peers, any := median(took[0]), median(took[1]), median(took[2])
	fmt.Fprintf(w, "\nMedians: private %.2f, peers %.2f (%+.1f %%), anywhere %.2f (%+.1f %%) CPU s per million events.\n",
		none, peers, 100*(peers/none-1), any, 100*(any/none-1))
	return nil
}

// anywhere draws IPv4 addresses of all of the Internet.
func anywhere() func() netip.Addr {
	r := rand.New(rand.NewPCG(3, 4))
	return func() netip.Addr {
		return netip.AddrFrom4([4]byte{byte(1 + r.IntN(222)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
	}
}

// private draws from 10.0.0.0/8.
func private() func() netip.Addr {
	r := rand.New(rand.NewPCG(3, 4))
	return func() netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
	}
}

// likePeers draws from the /24 networks of the addresses in a file.
func likePeers(path string) (func() func() netip.Addr, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var networks [][4]byte
	for _, line := range strings.Fields(string(text)) {
		ip, err := netip.ParseAddr(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if ip.Is4() {
			networks = append(networks, ip.As4())
		}
	}
	return func() func() netip.Addr {
		r := rand.New(rand.NewPCG(3, 4))
		return func() netip.Addr {
			ip := networks[r.IntN(len(networks))]
			ip[3] = byte(r.IntN(256))
			return netip.AddrFrom4(ip)
		}
	}, nil
}
