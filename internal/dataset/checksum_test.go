package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// withoutSum replaces a part by one as earlier versions wrote it, with changed rows.
func withoutSum[T Row](t *testing.T, path string, changes ...func(*T)) {
	t.Helper()
	var rows []T
	if err := eachRow(t.Context(), path, func(r T) error {
		for _, change := range changes {
			change(&r)
		}
		rows = append(rows, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f, err := tableOf[T]().readFooter(path)
	if err != nil {
		t.Fatal(err)
	}
	f.table, f.committed = "", nil
	entries, err := f.entries()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	p := newPart[T](file)
	for _, r := range rows {
		if err := p.append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.finish(entries); err != nil {
		t.Fatal(err)
	}
}

// Parts of earlier versions are accepted, counted, and get a checksum when they are merged.
func TestPartsWithoutChecksum(t *testing.T) {
	w, c, dir := committedTens(t, 3)
	withoutSum[VisitRow](t, single(2).path(dir, Visit))
	if h := check(t, dir, nil); !h.OK() || healthOf(h, Visit).NoChecksum != 1 || h.MissingRows() != 0 {
		t.Errorf("%+v", h)
	}
	everyTable(t, dir, upTo(30))
	c.advance(time.Hour)
	compact(t, w)
	everyTable(t, dir, upTo(30))
	if h := check(t, dir, nil); !h.OK() || healthOf(h, Visit).NoChecksum != 0 {
		t.Errorf("merged: %+v", h)
	}
}

// Damage to parts without a checksum is an error at worst: no panic, and no allocation by a
// number that the damage made up.
func TestFlipsWithoutChecksum(t *testing.T) {
	_, _, dir := committedTens(t, 2)
	path := single(2).path(dir, Metadata)
	withoutSum[MetadataRow](t, path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 5))
	footer := len(data) - 8 - int(binary.LittleEndian.Uint32(data[len(data)-8:]))
	damaged := 0
	for n := range 1500 {
		if testing.Short() && n > 150 {
			break
		}
		changed := bytes.Clone(data)
		at := footer + r.IntN(len(data)-footer)
		if n%3 == 0 {
			at = r.IntN(footer)
		}
		changed[at] ^= 1 << r.IntN(8)
		if err := os.WriteFile(path, changed, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := metadataTable().verify(t.Context(), path); errors.Is(err, ErrDamaged) {
			damaged++
		} else if err != nil && !errors.Is(err, errNewer) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	t.Logf("%d found", damaged)
}

// What peers sent does not announce a checksum: it is in the footer too, as the bounds of its
// column.
func TestTextOfPeersAnnouncesNoChecksum(t *testing.T) {
	for _, agent := range []string{summedMark, "Lighthouse" + summedMark, summedMark + strings.Repeat("\x1c", 8), "valtrack version " + schemaText() + summedMark} {
		_, _, dir := committedTens(t, 1)
		path := single(1).path(dir, Metadata)
		withoutSum(t, path, func(r *MetadataRow) { r.ClientVersion = agent })
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(data[len(data)-8-int(binary.LittleEndian.Uint32(data[len(data)-8:])):], []byte(agent)) {
			t.Fatalf("%q is not in the footer, %v", agent, err)
		}
		if h := check(t, dir, nil); !h.OK() || healthOf(h, Metadata).NoChecksum != 1 {
			t.Errorf("%q: %+v", agent, healthOf(h, Metadata))
		}
	}
}
