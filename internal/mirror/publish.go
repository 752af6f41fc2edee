package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

// publish writes the next manifest when it says something else than the old one, and deletes
// what was replaced long enough ago.
func (m *Mirror) publish(ctx context.Context, own state, old, next *Manifest, snapshot *dataset.Snapshot) error {
	var err error
	if next.Known, err = m.sendKnown(ctx, old, next, snapshot); err != nil {
		return err
	}
	if old.Known.Name != "" && old.Known != next.Known {
		next.Replaced = append(next.Replaced, Replaced{Name: old.Known.Name})
	}
	deleted, err := m.deleteReplaced(ctx, old, next)
	if err != nil {
		return err
	}
	if old.Generation > 0 && old.Writer == own.Writer && deleted == 0 && sameObjects(old, next) {
		m.countManifest(old)
		return nil
	}
	next.Version, next.Generation, next.Written = manifestVersion, old.Generation+1, m.now().UnixMilli()
	next.Writer, next.Network, next.GenesisValidatorsRoot, next.Base = own.Writer, m.cfg.Network, m.cfg.GenesisValidatorsRoot, m.cfg.Location.base()
	published := old.names()
	for i, r := range next.Replaced {
		if published[r.Name] {
			next.Replaced[i].Since = next.Written
		}
	}
	own.Copies[m.cfg.Location.String()] = next.Generation
	if err := m.step("mirror state"); err != nil {
		return err
	}
	if err := m.writeManifest(ctx, own, next); err != nil {
		return err
	}
	bytes, _ := next.totals()
	m.log.Info("mirrored parts", slog.String("location", m.cfg.Location.String()), slog.Uint64("generation", next.Generation),
		slog.Int("parts", len(next.Parts)), slog.Int64("bytes", bytes), slog.Int("deleted", deleted))
	m.countManifest(next)
	return nil
}

// sendKnown stores what was ever stored; the object of before is good for the same parts.
func (m *Mirror) sendKnown(ctx context.Context, old, next *Manifest, s *dataset.Snapshot) (Object, error) {
	if old.Known.Name != "" && slices.Equal(old.Parts, next.Parts) {
		return old.Known, nil
	}
	rejected, err := m.cfg.Rejected()
	if err != nil {
		return Object{}, err
	}
	// Those that were sent after what is in the parts would make what is between missing.
	s.Events.Merge(rejected.Through(s.Events))
	text, err := json.Marshal(known{s.Events, s.Segments})
	if err != nil {
		return Object{}, err
	}
	sum := sha256.Sum256(text)
	o := Object{Name: fmt.Sprintf("%s/%x.json", knownDir, sum[:8]), SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(text))}
	return o, m.send(ctx, o, bytes.NewReader(text))
}

// writeManifest replaces the manifest. The state is written first: after a crash the
// directory recognises both the old one and the new one as its own.
func (m *Mirror) writeManifest(ctx context.Context, own state, next *Manifest) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := next.check(); err != nil {
		return err
	}
	if err := own.write(m.cfg.DataDir); err != nil {
		return err
	}
	if err := m.step("mirror manifest"); err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if err := m.store.put(ctx, manifestName, bytes.NewReader(text), int64(len(text)), sum); err != nil {
		return err
	}
	if err := m.step("mirror published"); err != nil {
		return err
	}
	if has, err := m.store.verify(ctx, manifestName, int64(len(text)), sum); err != nil || !has {
		return errors.Join(fmt.Errorf("the manifest in %s differs from what was sent", m.cfg.Location), err)
	}
	return nil
}

func (m *Mirror) countManifest(of *Manifest) {
	bytes, rows := of.totals()
	m.count(func(s *Stats) { s.Parts, s.Bytes, s.Rows, s.Generation = len(of.Parts), bytes, rows, of.Generation })
}

// deleteReplaced deletes the objects that the manifest has not listed for the grace time. Those
// that the old one lists stay: it is what readers have until next is stored.
func (m *Mirror) deleteReplaced(ctx context.Context, old, next *Manifest) (deleted int, err error) {
	if !m.clocksAgree() {
		return 0, nil
	}
	published, listed := old.names(), next.names()
	left := []Replaced{}
	for _, r := range next.Replaced {
		switch {
		case listed[r.Name]: // it is in use again
			deleted++
			continue
		case published[r.Name], m.now().Sub(time.UnixMilli(r.Since)) < grace:
			left = append(left, r)
			continue
		}
		if err := m.step("mirror delete"); err != nil {
			return deleted, err
		}
		if err := m.store.remove(ctx, r.Name); err != nil {
			return deleted, err
		}
		deleted++
	}
	next.Replaced = left
	m.count(func(s *Stats) { s.Deleted += uint64(deleted) })
	return deleted, nil
}

// sweep deletes objects that no manifest lists: those of a process that died before it
// wrote the manifest, and whose part was merged before the next round.
func (m *Mirror) sweep(ctx context.Context, current *Manifest) error {
	if m.now().Sub(m.swept) < sweepEvery || !m.clocksAgree() {
		return nil
	}
	listed := current.names()
	for _, r := range current.Replaced {
		listed[r.Name] = true
	}
	var stray []string
	for _, dir := range objectDirs() {
		err := m.store.list(ctx, dir, func(o object) {
			if !listed[o.name] && o.age > grace {
				stray = append(stray, o.name)
			}
		})
		if err != nil {
			return err
		}
	}
	for _, name := range stray {
		if err := m.store.remove(ctx, name); err != nil {
			return err
		}
	}
	if len(stray) > 0 {
		m.log.Info("deleted objects that no manifest lists", slog.Int("objects", len(stray)))
	}
	m.count(func(s *Stats) { s.Deleted += uint64(len(stray)) })
	m.swept = m.now()
	return nil
}

// objectDirs are the directories of a copy's objects.
func objectDirs() []string {
	dirs := []string{knownDir}
	for _, table := range dataset.Tables() {
		dirs = append(dirs, tableDir(table))
	}
	return dirs
}
