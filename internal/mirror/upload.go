package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/chainbound/valtrack/internal/dataset"
)

// upload copies a part, unless an earlier round has, and returns once the store has shown
// that it has all of it.
func (m *Mirror) upload(ctx context.Context, p dataset.Part) (Entry, error) {
	f, err := dataset.OpenPart(m.cfg.DataDir, p.Table, p.File)
	if err != nil {
		return Entry{}, err // merged since it was listed, when it does not exist: the next round
	}
	defer f.Close()
	found, err := dataset.VerifyPart(ctx, p.Table, f)
	if err == nil && found != p {
		err = fmt.Errorf("%s %s was replaced while it was read: %w", p.Table, p.File, fs.ErrNotExist)
	}
	if err != nil {
		return Entry{}, err
	}
	content := io.NewSectionReader(f, 0, p.Bytes)
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		return Entry{}, err
	}
	sum := [sha256.Size]byte(hash.Sum(nil))
	e := Entry{Part: p, Object: Object{Name: objectName(p, sum), SHA256: hex.EncodeToString(sum[:]), Bytes: p.Bytes}}
	if err := m.send(ctx, e.Object, content); err != nil {
		return Entry{}, err
	}
	m.count(func(s *Stats) { s.Uploaded++; s.Sent += p.Bytes })
	return e, nil
}

// knownDir is the directory of the objects Known.
const knownDir = "known"

// tableDir is the directory of a table's objects.
func tableDir(table string) string { return table + ".parquet" }

// objectName has the content's hash, since a part that was purged keeps its name.
func objectName(p dataset.Part, sum [sha256.Size]byte) string {
	return path.Join(tableDir(p.Table), fmt.Sprintf("%s-%x.parquet", strings.TrimSuffix(p.File, ".parquet"), sum[:8]))
}

// send stores an object unless the store has it.
func (m *Mirror) send(ctx context.Context, o Object, content io.ReadSeeker) error {
	has, err := m.store.verify(ctx, o.Name, o.Bytes, o.sum())
	if err != nil || has {
		return err
	}
	if err := m.step("mirror upload"); err != nil {
		return err
	}
	if err := m.store.put(ctx, o.Name, content, o.Bytes, o.sum()); err != nil {
		return err
	}
	if err := m.step("mirror verify"); err != nil {
		return err
	}
	has, err = m.store.verify(ctx, o.Name, o.Bytes, o.sum())
	if err == nil && !has {
		err = fmt.Errorf("%s in %s differs from what was sent", o.Name, m.cfg.Location)
	}
	return err
}
