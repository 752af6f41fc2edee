//go:build !race

// The sizes are the same with the race detector, which takes twenty times as long.

package dataset

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// sample makes handshakes as a sentry on a network of 10 000 peers sees them: each
// peer once an epoch, in random order, records of 258 to 276 bytes.
type sample struct {
	r     *rand.Rand
	peers []MetadataRow
	n     int
}

const (
	samplePeers = 10_000
	sampleEpoch = 384_000 // ms
)

func newSample() *sample {
	s := &sample{r: rand.New(rand.NewPCG(7, 7))}
	agents := make([]string, 60)
	for i := range agents {
		agents[i] = fmt.Sprintf("%s/v%d.%d.%d-%s/x86_64-linux", []string{"Lighthouse", "Prysm", "teku", "nimbus", "Lodestar", "Grandine"}[i%6], 1+i%8, i%5, i%3, s.hex(4)[2:9])
	}
	for i := range samplePeers {
		attnets := eth2.NewAttnets([]int{s.r.IntN(64), s.r.IntN(64)})
		node := s.hex(32)
		s.peers = append(s.peers, MetadataRow{
			ENR:    s.enr(),
			ID:     "16Uiu2HAm" + s.text(base58, 44),
			NodeID: &node, Multiaddr: fmt.Sprintf("/ip4/%d.%d.%d.%d/udp/9001/quic-v1", s.r.IntN(224), s.r.IntN(256), s.r.IntN(256), s.r.IntN(256)),
			MetaData:          MetaData{SeqNumber: uint64(1 + s.r.IntN(300)), Attnets: attnets.String(), Syncnets: ptr("0x00"), CustodyGroupCount: ptr(uint64(4 << (i % 6)))},
			SubscribedSubnets: List(attnets.Subnets()), ClientVersion: agents[s.r.IntN(len(agents))], Direction: "outbound", Transport: "quic", ForkDigest: "0x8c9f62fe",
			EarliestAvailableSlot: ptr(uint64(0)), ColumnSubnets: ptr(int32(8)), SyncSubnets: []int32{},
			Common: Common{Network: "mainnet", CrawlerID: "crawler-1", CrawlerLocation: "Frankfurt"},
		})
	}
	return s
}

func (s *sample) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.r.Uint32())
	}
	return b
}

func (s *sample) hex(n int) string { return "0x" + hex.EncodeToString(s.bytes(n)) }

func (s *sample) next() MetadataRow {
	i := s.n % samplePeers
	if i == 0 {
		s.r.Shuffle(samplePeers, func(i, j int) { s.peers[i], s.peers[j] = s.peers[j], s.peers[i] })
	}
	m := &s.peers[i]
	if s.r.IntN(500) == 0 { // a new record, and long-lived subnets of another period
		m.ENR = s.enr()
		m.MetaData.SeqNumber++
	}
	row := *m
	ms := int64(s.n)*sampleEpoch/samplePeers + int64(s.r.IntN(40))
	slot := uint64(12_000_000 + ms/12_000)
	row.Timestamp = 1763800000000 + ms
	row.Epoch, row.HeadSlot, row.FinalizedEpoch = slot/32, slot, slot/32-2
	// Numbered: 26 random letters would be 20 bytes a row, sorted or not.
	row.VisitID = fmt.Sprintf("KQ2F7X3M-3-%d", s.n)
	if s.r.IntN(10) == 0 { // some have a validator's duty
		row.SubscribedSubnets = append([]int32{int32(s.r.IntN(64))}, row.SubscribedSubnets...)
	}
	s.n++
	return row
}

// enr is as long as a record with all entries, and as random: signature, key and
// address are, the rest repeats.
func (s *sample) enr() string {
	raw := slices.Concat([]byte("\xf8\xc0\xb8\x40"), s.bytes(64), []byte{byte(s.r.IntN(200))}, []byte("\x87attnets\x88"), s.bytes(2), make([]byte, 6),
		[]byte("\x83cgc\x04\x84eth2\x90\x8c\x9f\x62\xfe\x06\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x82id\x82v4\x82ip\x84"), s.bytes(4),
		[]byte("\x83nfd\x84\x00\x00\x00\x00\x84quic\x82\x23\x29\x89secp256k1\xa1"), s.bytes(33), []byte("\x88syncnets\x00\x83tcp\x82\x23\x28\x83udp\x82\x23\x28"))
	return "enr:-" + base64.RawURLEncoding.EncodeToString(raw)
}

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

func (s *sample) text(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[s.r.IntN(len(alphabet))]
	}
	return string(b)
}

func size(t testing.TB, dir string, table string) (bytes int64) {
	t.Helper()
	parts, err := os.ReadDir(Dir(dir, table))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	return bytes
}

func writeSample(t testing.TB, w *Writer, s *sample, n int) {
	t.Helper()
	for range n {
		if err := errors.Join(Append(w, s.next()), Append(w, ValidatorRow{})); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(nil); err != nil {
		t.Fatal(err)
	}
}

// The sizes that docs/benchmarks.md gives; they are the same on every machine.
func TestBytesPerRow(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	dir, c, s := t.TempDir(), &clock{noon}, newSample()
	w := openAt(t, dir, c)
	defer w.Close()
	const segment, segments = 100_000, 5
	writeSample(t, w, s, segment)
	loose := float64(size(t, dir, Metadata)) / segment
	for range segments - 1 {
		writeSample(t, w, s, segment)
	}
	c.advance(time.Hour)
	compact(t, w)
	merged := float64(size(t, dir, Metadata)) / (segment * segments)
	t.Logf("bytes a row: %.1f in a part of %d rows, %.1f in a merged one of %d", loose, segment, merged, segment*segments)
	if loose > 40 || merged > 20 {
		t.Errorf("want at most 40 and 20")
	}
}

// BenchmarkCompactDay merges a day of 10 000 peers, hour by hour and then the 24
// hours. peak-MiB is the heap's growth at its highest, live objects and garbage.
func BenchmarkCompactDay(b *testing.B) {
	for range b.N {
		dir, c, s := b.TempDir(), &clock{noon.Truncate(24 * time.Hour)}, newSample()
		w, err := Open(dir, discardLog())
		if err != nil {
			b.Fatal(err)
		}
		w.now = c.now
		b.StopTimer()
		const hours, segments, segment = 24, 6, samplePeers * 225 / 24 / 6
		for range hours {
			for range segments {
				writeSample(b, w, s, segment)
				c.advance(10 * time.Minute)
			}
		}
		runtime.GC()
		peak := watchHeap()
		b.StartTimer()
		if _, err := w.Compact(b.Context(), time.Hour); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(peak(), "peak-MiB")
		b.ReportMetric(float64(size(b, dir, Metadata))/(hours*segments*segment), "B/row")
		w.Close()
	}
}

// watchHeap gives, when its result is called, by how many MiB the heap had grown
// at its highest since.
func watchHeap() func() float64 {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	before, peak := heap(), uint64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				peak = max(peak, heap())
			}
		}
	}()
	return func() float64 {
		close(stop)
		<-done
		return float64(int64(peak)-int64(before)) / (1 << 20)
	}
}
