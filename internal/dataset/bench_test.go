package dataset

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// BenchmarkSegment writes segments of DefaultSegmentRows handshakes, 10 000 peers
// each seen once an epoch, to both tables that take them.
func BenchmarkSegment(b *testing.B) {
	const peers, segment = 10_000, 250_000
	metadata, validators := metadataRows()[0], validatorRows()[0]
	dir := b.TempDir()
	w, err := Open(dir, discardLog())
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	commit := func() {
		if err := w.Commit(nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for i := range b.N {
		m, v := metadata, validators
		// A record is as long as real ones are: 260 bytes, different for each peer.
		m.ENR = fmt.Sprintf("enr:-%0255d", i*7919%peers)
		m.ID, m.Epoch, m.Timestamp = m.ENR[200:], uint64(i/peers), int64(1763800000000+i)
		v.ENR, v.ID, v.Epoch, v.Timestamp = m.ENR, m.ID, m.Epoch, m.Timestamp
		if err := errors.Join(Append(w, m), Append(w, v)); err != nil {
			b.Fatal(err)
		}
		if (i+1)%segment == 0 {
			commit()
		}
	}
	commit()
	b.StopTimer()
	var size int64
	for _, table := range []string{Metadata, ValidatorMetadata} {
		parts, err := os.ReadDir(Dir(dir, table))
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range parts {
			info, err := p.Info()
			if err != nil {
				b.Fatal(err)
			}
			size += info.Size()
		}
	}
	b.ReportMetric(float64(size)/float64(2*b.N), "B/row")
}
