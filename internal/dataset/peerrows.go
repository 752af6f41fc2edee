package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"
)

// PeerReader finds the rows of single peers. It reads the footer of a part once, verifies a
// part once, passes over the parts without rows in the range, and of the others reads the
// pages that have the peer's rows. It is safe for concurrent use.
type PeerReader struct {
	dir       string
	verifiers chan struct{} // has one for each part that is being verified

	mu    sync.Mutex
	parts map[string]*checkedPart // by table and file
}

// checkedPart is what is known of a part's file while that stays the same.
type checkedPart struct {
	size int64
	at   time.Time

	mu       sync.Mutex
	footer   footer
	err      error // of the footer
	verified bool
	damaged  error
	running  *verification // nil for none
}

// verification is the one of a part that runs.
type verification struct {
	done chan struct{} // closed at the end
	err  error         // set then
}

const (
	// maxVerifiers is how many parts are verified at one time, verifyTime for how long one may be.
	maxVerifiers = 2
	verifyTime   = 10 * time.Minute
)

// maxChecked bounds the parts that are remembered.
const maxChecked = 10_000

// NewPeerReader reads a data directory, to which a writer may be writing.
func NewPeerReader(dataDir string) *PeerReader {
	return &PeerReader{dir: dataDir, verifiers: make(chan struct{}, maxVerifiers), parts: map[string]*checkedPart{}}
}

// ScanPeer calls each with every row of a peer in the range, those of the newest part first,
// and stops at its first error. The error is ErrDamaged if all rows were read but those of
// damaged parts, which it names.
func ScanPeer[T Row](ctx context.Context, r *PeerReader, peer string, in Range, each func(T) error) error {
	var zero T
	parts, err := openTable(r.dir, zero.Table())
	if err != nil || parts == nil {
		return err
	}
	defer parts.dir.Close()
	var damaged error
	for i := len(parts.live) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := scanPeerPart(ctx, r, parts, parts.live[i], peer, in, each)
		if errors.Is(err, ErrDamaged) {
			damaged = errors.Join(damaged, &PartError{zero.Table(), parts.live[i].file(), r.dir, err})
		} else if err != nil {
			return err
		}
	}
	return damaged
}

func scanPeerPart[T Row](ctx context.Context, r *PeerReader, parts *tableParts, s span, peer string, in Range, each func(T) error) error {
	f, err := parts.open(s)
	if err != nil {
		return err
	}
	verifying := func() {} // waits until f is not read for later callers any more
	defer func() {
		if ctx.Err() == nil {
			f.Close()
			return
		}
		go func() {
			verifying()
			f.Close()
		}()
	}()
	known, err := r.check(f, tableOf[T](), s)
	if err != nil {
		return err
	}
	known.mu.Lock()
	foot := known.footer
	known.mu.Unlock()
	if foot.rows == 0 || in.From > 0 && foot.newest < in.From || in.To > 0 && foot.oldest >= in.To {
		return nil
	}
	v := known.verify(ctx, r.verifiers, func(ctx context.Context) (err error) {
		defer recoverDamage(&err)
		_, err = verifyPart[T](ctx, f)
		return err
	})
	verifying = func() { <-v.done }
	if err := v.wait(ctx); err != nil {
		return err
	}
	filtered := func(row T) error {
		if row.Peer() != peer || !in.has(row.At()) {
			return nil
		}
		return each(row)
	}
	if !foot.summed { // of an earlier version: its page index is not trusted
		return eachRowOf(ctx, f, filtered)
	}
	return eachRowOfPeer(ctx, f, peer, filtered)
}

// check reads a part's footer, unless that is known.
func (r *PeerReader) check(f *os.File, t table, s span) (*checkedPart, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	name := t.name + "/" + s.file()
	r.mu.Lock()
	p := r.parts[name]
	if p == nil || p.size != info.Size() || !p.at.Equal(info.ModTime()) {
		if len(r.parts) >= maxChecked {
			clear(r.parts)
		}
		p = &checkedPart{size: info.Size(), at: info.ModTime()}
		r.parts[name] = p
		p.mu.Lock()
		defer p.mu.Unlock()
		r.mu.Unlock()
		if p.footer, p.err = t.footerOf(f); p.err == nil {
			p.err = p.footer.checkPlace(t.name, s.file())
		}
		return p, p.err
	}
	r.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p, p.err
}

// verify verifies the part, unless that was done or is being done. It goes on when ctx ends: a large part may
// take longer than a caller has, and the next one finds it verified. An error that is not of the
// content, such as the end of the time, is not kept.
func (p *checkedPart) verify(ctx context.Context, slots chan struct{}, verify func(context.Context) error) *verification {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil {
		return p.running
	}
	v := &verification{done: make(chan struct{})}
	if p.verified || p.damaged != nil {
		v.err = p.damaged
		close(v.done)
		return v
	}
	p.running = v
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), verifyTime)
		defer cancel()
		slots <- struct{}{}
		err := verify(ctx)
		<-slots
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.verified = err == nil; errors.Is(err, ErrDamaged) {
			p.damaged = err
		}
		v.err, p.running = err, nil
		close(v.done)
	}()
	return v
}

// wait waits until the part is verified, or ctx ends.
func (v *verification) wait(ctx context.Context) error {
	select {
	case <-v.done:
		return v.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is a run of rows of a row group.
type run struct{ first, rows int64 }

// eachRowOfPeer calls each with every row of the peer, and perhaps some others, of a part
// that was verified and has a checksum.
func eachRowOfPeer[T Row](ctx context.Context, f *os.File, peer string, each func(T) error) (err error) {
	defer recoverDamage(&err)
	end, err := readTail(f)
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, end.start+int64(len(end.raw)), parquet.SkipBloomFilters(true))
	if err != nil {
		return damage(err)
	}
	id, ok := file.Schema().Lookup("id")
	if !ok {
		return fmt.Errorf("%w: no column id", ErrDamaged)
	}
	for _, group := range file.RowGroups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		runs, err := runsOf(ctx, group.ColumnChunks()[id.ColumnIndex], peer)
		if err != nil {
			return err
		}
		if err := eachRowIn(ctx, group, runs, each); err != nil {
			return err
		}
	}
	return nil
}

// runsOf finds the rows in which a column of text has a value.
func runsOf(ctx context.Context, chunk parquet.ColumnChunk, want string) (out []run, err error) {
	pages := chunk.Pages()
	defer pages.Close()
	row := int64(0)
	add := func(at int64) {
		if n := len(out); n > 0 && out[n-1].first+out[n-1].rows == at {
			out[n-1].rows++
			return
		}
		out = append(out, run{at, 1})
	}
	index, known := int32(-1), false // of the value in the chunk's dictionary
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		page, err := pages.ReadPage()
		if page == nil {
			return out, endOfPages(err)
		}
		dict := page.Dictionary()
		if dict != nil && !known {
			if index, known = indexIn(dict, want), true; index < 0 {
				parquet.Release(page)
				return nil, nil
			}
		}
		rows := page.NumRows()
		if dict != nil {
			data := page.Data()
			for i, x := range data.Int32() {
				if x == index {
					add(row + int64(i))
				}
			}
		} else {
			values := make([]parquet.Value, rows)
			n, _ := page.Values().ReadValues(values)
			for i, v := range values[:n] {
				if string(v.ByteArray()) == want {
					add(row + int64(i))
				}
			}
		}
		row += rows
		parquet.Release(page)
	}
}

func endOfPages(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return damage(err)
}

// indexIn finds a text in a dictionary; -1 when it is not there.
func indexIn(dict parquet.Dictionary, want string) int32 {
	for i := range int32(dict.Len()) {
		if string(dict.Index(i).ByteArray()) == want {
			return i
		}
	}
	return -1
}

// eachRowIn calls each with the rows of the runs.
func eachRowIn[T Row](ctx context.Context, group parquet.RowGroup, runs []run, each func(T) error) error {
	if len(runs) == 0 {
		return nil
	}
	r := parquet.NewGenericRowGroupReader[T](group)
	defer r.Close()
	rows := make([]T, writeBatch)
	for _, run := range runs {
		if err := r.SeekToRow(run.first); err != nil {
			return damage(err)
		}
		for left := run.rows; left > 0; {
			if err := ctx.Err(); err != nil {
				return err
			}
			batch := rows[:min(left, int64(len(rows)))]
			clear(batch)
			n, err := r.Read(batch)
			if n == 0 {
				return damage(fmt.Errorf("a row is missing: %w", err))
			}
			for _, row := range batch[:n] {
				if err := each(row); err != nil {
					return err
				}
			}
			left -= int64(n)
		}
	}
	return nil
}
