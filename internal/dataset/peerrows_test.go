package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// peersDir has parts of an hour each, of which the older are merged, and rows of some peers in each.
func peersDir(t *testing.T, rows int) (dir string, start int64) {
	t.Helper()
	dir = t.TempDir()
	c := &clock{at: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}
	start = c.at.UnixMilli()
	w := openAt(t, dir, c)
	r := rand.New(rand.NewPCG(1, 2))
	for segment := range 30 {
		if segment > 20 { // is not merged
			c.advance(30 * time.Minute)
		}
		for i := range rows {
			id := fmt.Sprintf("16U%03d", r.IntN(40))
			at := common(c.at.UnixMilli() - r.Int64N(3600_000))
			row := VisitRow{ID: id, VisitID: fmt.Sprint(segment, "-", i), Common: at}
			if i%3 == 0 {
				row.Watch = &Watch{From: 1, To: 2, Initial: []int32{int32(i % 64)}, Changes: []SubnetChange{{At: 3, Subnet: 4}}, MetaDataChanges: []MetaDataChange{}}
			}
			if err := errors.Join(Append(w, row), Append(w, MetadataRow{ID: id, Common: at})); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(Coverage{"s-1": {{uint64(segment + 1), uint64(segment + 1)}}}); err != nil {
			t.Fatal(err)
		}
		c.advance(10 * time.Minute)
		if segment == 20 {
			c.advance(time.Hour)
			compact(t, w)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, start
}

func ofPeer(t *testing.T, r *PeerReader, id string, in Range) (rows []VisitRow) {
	t.Helper()
	err := ScanPeer(t.Context(), r, id, in, func(row VisitRow) error {
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(rows, func(a, b VisitRow) int { return bytes.Compare([]byte(a.VisitID), []byte(b.VisitID)) })
	return rows
}

// The rows of a peer are those of a scan of everything, in merged parts and others, in any range.
func TestScanPeer(t *testing.T) {
	dir, start := peersDir(t, 300)
	if n := len(files(t, dir, Visit)); n < 3 || n > 25 {
		t.Fatalf("%d parts, want merged ones and others", n)
	}
	all := scan[VisitRow](t, dir, Range{})
	reader, random := NewPeerReader(dir), rand.New(rand.NewPCG(3, 4))
	for range 60 {
		id := fmt.Sprintf("16U%03d", random.IntN(42)) // two of which there is nothing
		in := Range{From: start + random.Int64N(10)*3600_000}
		in.To = in.From + random.Int64N(20*3600_000)
		if random.IntN(4) == 0 {
			in = Range{}
		}
		var want []VisitRow
		for _, row := range all {
			if row.ID == id && in.has(row.Timestamp) {
				want = append(want, row)
			}
		}
		slices.SortFunc(want, func(a, b VisitRow) int { return bytes.Compare([]byte(a.VisitID), []byte(b.VisitID)) })
		if d := cmp.Diff(want, ofPeer(t, reader, id, in)); d != "" {
			t.Fatalf("%s in %+v (-all +found):\n%s", id, in, d)
		}
	}
}

// A part outside of the range is not read; one in it that is damaged is named, and the others are read.
func TestScanPeerOfDamagedParts(t *testing.T) {
	dir, start := peersDir(t, 50)
	names := files(t, dir, Visit)
	damagePart(t, Dir(dir, Visit)+"/"+names[len(names)-1])
	reader := NewPeerReader(dir)
	early := Range{From: start, To: start + 3600_000}
	if len(ofPeer(t, reader, "16U001", early)) == 0 {
		t.Error("no rows in the first hour")
	}
	for range 2 { // the second time from memory
		rows := 0
		err := ScanPeer(t.Context(), reader, "16U001", Range{}, func(VisitRow) error { rows++; return nil })
		if parts := DamagedParts(err); !errors.Is(err, ErrDamaged) || len(parts) != 1 || parts[0].Table != Visit || parts[0].File != names[len(names)-1] {
			t.Errorf("%v names %v", err, parts)
		}
		if rows == 0 {
			t.Error("no rows of the other parts")
		}
	}
}

// damagePart flips a bit in the middle of a file, without another time or size.
func damagePart(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/3] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is streamed is what a scan gives, also when a part is damaged.
func TestStreamTable(t *testing.T) {
	dir, start := peersDir(t, 200)
	stream := func(in Range) (*os.File, error) {
		f, err := os.Create(t.TempDir() + "/out.parquet")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f, StreamTable(t.Context(), dir, Visit, in, f)
	}
	read := func(f *os.File) (rows []VisitRow) {
		if err := eachRow(t.Context(), f.Name(), func(row VisitRow) error { rows = append(rows, row); return nil }); err != nil {
			t.Fatal(err)
		}
		return rows
	}
	in := Range{From: start + 1800_000, To: start + 7200_000}
	f, err := stream(in)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(scan[VisitRow](t, dir, in), read(f)); d != "" {
		t.Errorf("-scanned +streamed:\n%s", d)
	}
	names := files(t, dir, Visit)
	damagePart(t, Dir(dir, Visit)+"/"+names[0])
	f, err = stream(Range{})
	if parts := DamagedParts(err); len(parts) != 1 || parts[0].File != names[0] {
		t.Errorf("%v names %v", err, parts)
	}
	var want []VisitRow
	if err := Scan(t.Context(), dir, Range{}, func(row VisitRow) error { want = append(want, row); return nil }); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if got := read(f); len(got) == 0 || !cmp.Equal(want, got) {
		t.Errorf("%d rows streamed, %d scanned", len(got), len(want))
	}
}

// A part is verified once, however many callers there are, and goes on being verified when the time of
// those is over.
func TestVerificationGoesOn(t *testing.T) {
	var p checkedPart
	slots, proceed, ran := make(chan struct{}, 1), make(chan struct{}), 0
	verify := func(ctx context.Context) error {
		ran++
		<-proceed
		return ctx.Err()
	}
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		v := p.verify(ctx, slots, verify)
		cancel()
		if err := v.wait(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	v := p.verify(t.Context(), slots, verify)
	close(proceed)
	if err := v.wait(t.Context()); err != nil || ran != 1 {
		t.Errorf("%v, verified %d times", err, ran)
	}
	if err := p.verify(t.Context(), slots, verify).wait(t.Context()); err != nil || ran != 1 || len(slots) != 0 {
		t.Errorf("again: %v, verified %d times", err, ran)
	}
	failing := checkedPart{}
	ran = 0
	for _, want := range []error{os.ErrDeadlineExceeded, ErrDamaged, ErrDamaged} {
		err := failing.verify(t.Context(), slots, func(context.Context) error {
			ran++
			return want
		}).wait(t.Context())
		if !errors.Is(err, want) || ran > 2 {
			t.Errorf("%v, want %v, verified %d times", err, want, ran)
		}
	}
}
