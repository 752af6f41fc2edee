package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/chainbound/valtrack/internal/crashpoint"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/diskio"
)

// RestoringDir is the directory, in a data directory, of a restore that is not complete.
const RestoringDir = "_restoring"

// ErrOccupied marks a directory that has datasets of its own.
var ErrOccupied = errors.New("it already has datasets: restore into a directory without any")

// Copy is a copy that can be restored.
type Copy struct {
	*Manifest
	store *store
	// crash, in tests, is called before each step; see Mirror.
	crash func(step string) error
}

func (c *Copy) step(name string) error {
	crashpoint.At(name)
	if c.crash == nil {
		return nil
	}
	return c.crash(name)
}

// OpenCopy reads the manifest of a copy; fs.ErrNotExist when there is none.
func OpenCopy(ctx context.Context, at Location, keys *credentials.Credentials) (*Copy, error) {
	s, err := openStore(at, keys)
	if err != nil {
		return nil, err
	}
	m, err := readManifest(ctx, s)
	return &Copy{Manifest: m, store: s}, err
}

// Restored is what a restore has put into a data directory.
type Restored struct {
	Network    string `json:"network"`
	Generation uint64 `json:"generation"`
	Parts      int    `json:"parts"`
	Rows       int64  `json:"rows"`
	Bytes      int64  `json:"bytes"`
}

// Check is an error when a restore would fail for what the store lacks: it looks whether every
// object that the manifest lists is there, in its size, and reads what was ever stored. It writes
// nothing.
func (c *Copy) Check(ctx context.Context) error {
	missing := map[string]int64{c.Known.Name: c.Known.Bytes}
	for _, e := range c.Parts {
		missing[e.Name] = e.Object.Bytes
	}
	var problems []error
	for _, dir := range objectDirs() {
		err := c.store.list(ctx, dir, func(o object) {
			if want, ok := missing[o.name]; ok && o.bytes != want {
				problems = append(problems, fmt.Errorf("%s has %d bytes, want %d", o.name, o.bytes, want))
			}
			delete(missing, o.name)
		})
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		problems = append(problems, fmt.Errorf("%s is missing", name))
	}
	if n := len(problems); n > 0 {
		return fmt.Errorf("%s is not whole: %d of %d objects are not as its manifest says, nothing was restored; the first: %w", c.store.at, n, len(c.Parts)+1, problems[0])
	}
	_, err := c.known(ctx)
	return err
}

// known reads what was ever stored.
func (c *Copy) known(ctx context.Context) (k known, err error) {
	var text bytes.Buffer
	if err := c.store.get(ctx, c.Known.Name, c.Known.Bytes, &text); err != nil {
		return k, err
	}
	if sha256.Sum256(text.Bytes()) != c.Known.sum() || json.Unmarshal(text.Bytes(), &k) != nil {
		return k, fmt.Errorf("%s in %s is damaged", c.Known.Name, c.store.at)
	}
	return k, nil
}

// Restore makes the datasets of the copy in a data directory that has none. The caller has
// locked it, and called Check. Every part is verified. A restore that was interrupted goes on
// where it ended.
func (c *Copy) Restore(ctx context.Context, dataDir string, log *slog.Logger) (Restored, error) {
	work := filepath.Join(dataDir, RestoringDir)
	if err := c.begin(dataDir, work); err != nil {
		return Restored{}, err
	}
	if err := c.makeRoom(work); err != nil {
		return Restored{}, err
	}
	for i, e := range c.Parts {
		if err := c.fetch(ctx, work, e); err != nil {
			return Restored{}, err
		}
		log.Debug("restored a part", slog.String("object", e.Name), slog.Int("part", i+1), slog.Int("of", len(c.Parts)))
	}
	if err := c.finish(ctx, dataDir, work); err != nil {
		return Restored{}, err
	}
	bytes, rows := c.totals()
	return Restored{c.Network, c.Generation, len(c.Parts), rows, bytes}, nil
}

// begin makes the directory work. Tables that are outside of it then are those that an earlier
// restore has moved out, and are moved back, as the manifest may be another one now. A directory
// that has datasets of its own must therefore never get a directory work.
func (c *Copy) begin(dataDir, work string) error {
	_, err := os.Stat(work)
	if errors.Is(err, fs.ErrNotExist) {
		err = unoccupied(dataDir)
	}
	if err == nil {
		err = os.MkdirAll(work, 0o755)
	}
	if err == nil {
		err = c.step("restore begin")
	}
	if err != nil {
		return err
	}
	for _, table := range dataset.Tables() {
		_, err := os.Lstat(dataset.Dir(dataDir, table))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = os.MkdirAll(dataset.Dir(work, table), 0o755)
		case err == nil:
			err = os.Rename(dataset.Dir(dataDir, table), dataset.Dir(work, table))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unoccupied is ErrOccupied when a data directory has a table.
func unoccupied(dataDir string) error {
	for _, table := range dataset.Tables() {
		if _, err := os.Lstat(dataset.Dir(dataDir, table)); err == nil {
			return ErrOccupied
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// makeRoom removes files that the manifest does not list, and looks whether the others fit.
func (c *Copy) makeRoom(work string) error {
	left := map[string]int64{}
	for _, e := range c.Parts {
		left[filepath.Join(dataset.Dir(work, e.Table), e.File)] = e.Part.Bytes
	}
	for _, table := range dataset.Tables() {
		entries, err := os.ReadDir(dataset.Dir(work, table))
		if err != nil {
			return err
		}
		for _, entry := range entries {
			path := filepath.Join(dataset.Dir(work, table), entry.Name())
			if _, ok := left[path]; !ok {
				err = os.Remove(path)
			}
			if err != nil {
				return err
			}
			delete(left, path)
		}
	}
	var need int64
	for _, bytes := range left {
		need += bytes
	}
	if free, err := diskio.Free(work); err != nil || free < need {
		return errors.Join(fmt.Errorf("%w: %d MiB are free and %d MiB are needed", dataset.ErrNoRoom, free>>20, need>>20), err)
	}
	return nil
}

// fetch gets a part, unless an earlier restore has.
func (c *Copy) fetch(ctx context.Context, work string, e Entry) error {
	path := filepath.Join(dataset.Dir(work, e.Table), e.File)
	if sum, err := sumFile(path); err == nil && sum == e.sum() {
		return nil
	}
	if err := c.step("restore part"); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	if err := c.store.get(ctx, e.Name, e.Object.Bytes, io.MultiWriter(f, hash)); err != nil {
		return err
	}
	if [sha256.Size]byte(hash.Sum(nil)) != e.sum() {
		return fmt.Errorf("%s in %s differs from what the manifest says: it was damaged or replaced in the store", e.Name, c.store.at)
	}
	found, err := dataset.VerifyPart(ctx, e.Table, f)
	if err == nil && found != e.Part {
		err = fmt.Errorf("%w: %s is not the part that the manifest describes", dataset.ErrDamaged, e.Name)
	}
	return errors.Join(err, f.Sync())
}

func sumFile(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return [sha256.Size]byte(hash.Sum(nil)), err
}

// finish moves the datasets into place. The directory work goes last: as long as it is there
// the restore is not complete.
func (c *Copy) finish(ctx context.Context, dataDir, work string) error {
	k, err := c.known(ctx)
	if err != nil {
		return err
	}
	if err := dataset.WriteRemoved(work, dataDir, k.Events, k.Segments); err != nil {
		return err
	}
	own := newState()
	own.Restored = &origin{c.store.at.String(), c.Writer, c.Generation}
	if err := own.write(dataDir); err != nil {
		return err
	}
	for _, table := range dataset.Tables() { // that which commits is the last
		if err := c.step("restore " + table); err != nil {
			return err
		}
		if err := errors.Join(diskio.SyncDir(dataset.Dir(work, table)), os.Rename(dataset.Dir(work, table), dataset.Dir(dataDir, table))); err != nil {
			return err
		}
	}
	if err := diskio.SyncDir(dataDir); err != nil {
		return err
	}
	if err := c.step("restored"); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(work), diskio.SyncDir(dataDir))
}
