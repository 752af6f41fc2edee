package consumer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
)

// BenchmarkPlaces measures what the columns of places cost: two consumers, one with and one
// without them, take the same 20,000 messages of 10,000 peers by turns, from the message to
// the committed segment. Its figure is the median of the rounds' ratios of processor time,
// garbage collection included. There is no broker and no tracker, of which both would make
// the cost of places a smaller part. `make bench-geo` runs it.
func BenchmarkPlaces(b *testing.B) {
	const peers = 10_000
	random := rand.New(rand.NewPCG(1, 2))
	multiaddrs := make([]string, peers)
	for i := range multiaddrs {
		multiaddrs[i] = fmt.Sprintf("/ip4/%d.%d.%d.%d/tcp/9000", 1+random.IntN(222), random.IntN(256), random.IntN(256), random.IntN(256))
	}
	places := openPlaces(b)
	sides := [2]*ingest{benchIngest(b, peers, nil), benchIngest(b, peers, places)}
	var cpu [2]time.Duration
	var ratios []float64
	round := func(n int) {
		messages := crawlMessages(b, n, multiaddrs)
		var took [2]time.Duration
		for i := range sides {
			side := (i + n) % 2 // neither is always the first
			took[side] = ingestTime(b, sides[side], messages)
			cpu[side] += took[side]
		}
		ratios = append(ratios, took[1].Seconds()/took[0].Seconds())
	}
	round(0) // decodes the table
	b.ResetTimer()
	cpu, ratios = [2]time.Duration{}, nil
	for i := range b.N {
		round(i + 1)
	}
	slices.Sort(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(cpu[0].Microseconds())/float64(2*peers*b.N), "us/event-without")
	b.ReportMetric(float64(cpu[1].Microseconds())/float64(2*peers*b.N), "us/event-with")
	b.ReportMetric(100*(ratios[len(ratios)/2]-1), "%slower")
}

func benchIngest(b *testing.B, peers int, places *geo.Locator) *ingest {
	b.Helper()
	return newIngest(openIn(b, b.TempDir(), Config{SegmentRows: 2 * peers, SegmentAge: time.Hour, Places: places}, newFeed()))
}

// crawlMessages are a visit of each peer: what its handshake said, and how it ended.
func crawlMessages(b *testing.B, round int, multiaddrs []string) (out []bus.Message) {
	b.Helper()
	add := func(e event.Event) {
		data, err := event.Encode(e)
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, bus.Message{Subject: e.Subject(), Key: "bench-" + strconv.Itoa(round+1) + "-" + strconv.Itoa(len(out)+1), Data: data, Seq: 1,
			Time: time.UnixMilli(event.CommonOf(e).Timestamp), Delivery: &answers{}})
	}
	for i, multiaddr := range multiaddrs {
		e := handshake()
		e.VisitID, e.Multiaddr, e.ENR = fmt.Sprintf("%013d%013d", round, i), multiaddr, fmt.Sprintf("enr:-%0255d", i)
		e.ID = fmt.Sprintf("16Uiu2HAm%044d", i)
		add(e)
		end := visit(e.VisitID)
		end.ID, end.Multiaddr = e.ID, multiaddr
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
