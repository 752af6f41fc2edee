package consumer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/tracker"
)

// BenchmarkPlaces measures what places cost: two consumers, one with and one without them,
// take the same 200,000 messages by turns, ten visits of each of 10,000 peers, from the
// message through tracker and dataset to the committed segment, whose size is about the
// default. Its figure compares the least processor times of a round, garbage collection
// included: what else runs on the machine only adds to them. There is no broker, with which the cost of places would be a smaller
// part. `make bench-geo` runs it.
//
// Addresses are in the networks of real peers, or anywhere, which is the worst case: nearly
// every peer has a city of its own then.
func BenchmarkPlaces(b *testing.B) {
	real, err := os.ReadFile("../geo/testdata/peers.txt")
	if err != nil {
		b.Fatal(err)
	}
	var like []netip.Addr
	for _, text := range strings.Fields(string(real)) {
		if ip := netip.MustParseAddr(text); ip.Is4() {
			like = append(like, ip)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	b.Run("peers", func(b *testing.B) {
		benchPlaces(b, func() netip.Addr {
			ip := like[random.IntN(len(like))].As4()
			ip[3] = byte(random.IntN(256))
			return netip.AddrFrom4(ip)
		})
	})
	b.Run("anywhere", func(b *testing.B) {
		benchPlaces(b, func() netip.Addr {
			return netip.AddrFrom4([4]byte{byte(1 + random.IntN(222)), byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))})
		})
	})
}

func benchPlaces(b *testing.B, address func() netip.Addr) {
	const peers, visits = 10_000, 10
	multiaddrs := make([]string, peers)
	for i := range multiaddrs {
		multiaddrs[i] = fmt.Sprintf("/ip4/%s/tcp/9000", address())
	}
	sides := [2]*ingest{benchIngest(b, peers*visits, nil), benchIngest(b, peers*visits, openPlaces(b))}
	var least [2]time.Duration
	round := func(n int) {
		messages := crawlMessages(b, n, visits, multiaddrs)
		for i := range sides {
			side := (i + n) % 2 // neither is always the first
			took := ingestTime(b, sides[side], messages)
			if least[side] == 0 || took < least[side] {
				least[side] = took
			}
		}
	}
	round(0) // decodes the table
	b.ResetTimer()
	least = [2]time.Duration{}
	for i := range b.N {
		round(i + 1)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(least[0].Microseconds())/(2*peers*visits), "us/event-without")
	b.ReportMetric(float64(least[1].Microseconds())/(2*peers*visits), "us/event-with")
	b.ReportMetric(100*(least[1].Seconds()/least[0].Seconds()-1), "%slower")
}

func benchIngest(b *testing.B, visits int, places *geo.Locator) *ingest {
	b.Helper()
	dir := b.TempDir()
	tr, err := tracker.Open(b.Context(), tracker.Config{
		Dir: dir, Network: "n", Log: discardLog(), Places: places, EstimateEvery: 10_000 * time.Hour,
		Params: estimate.Params{ActiveValidators: 1_000_000, Preset: eth2.MainnetPreset(),
			Clock: eth2.Clock{Genesis: time.UnixMilli(1763700000000), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tr.Close() })
	c := openIn(b, dir, Config{SegmentRows: 2 * visits, SegmentAge: 30 * time.Minute, Places: places, Tracker: tr}, newFeed())
	in := newIngest(c)
	in.follow(tr)
	return in
}

// crawlMessages are so many visits of each peer: what its handshake said, and how it ended.
func crawlMessages(b *testing.B, round, visits int, multiaddrs []string) (out []bus.Message) {
	b.Helper()
	add := func(e event.Event) {
		data, err := event.Encode(e)
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, bus.Message{Subject: e.Subject(), Key: "bench-" + strconv.Itoa(round+1) + "-" + strconv.Itoa(len(out)+1), Data: data, Seq: 1,
			Time: time.UnixMilli(event.CommonOf(e).Timestamp), Delivery: &answers{}})
	}
	for n := range visits * len(multiaddrs) {
		i := n % len(multiaddrs)
		e := handshake()
		e.VisitID, e.Multiaddr, e.ENR = fmt.Sprintf("%013d%013d", round, n), multiaddrs[i], fmt.Sprintf("enr:-%0255d", i)
		e.ID = fmt.Sprintf("16Uiu2HAm%044d", i)
		add(e)
		end := visit(e.VisitID)
		end.ID, end.Multiaddr = e.ID, e.Multiaddr
		add(end)
	}
	return out
}

// ingestTime is the processor time that a segment takes.
func ingestTime(b *testing.B, in *ingest, messages []bus.Message) time.Duration {
	b.Helper()
	before, segments := cpuTime(b), in.Stats().Segments
	for _, m := range messages {
		in.handle(b.Context(), m)
	}
	took := cpuTime(b) - before
	if s := in.Stats(); s.Segments != segments+1 || s.Rejected+s.Duplicates > 0 {
		b.Fatalf("%+v", s)
	}
	return took
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
