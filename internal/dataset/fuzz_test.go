package dataset

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzPart reads files as parts, without a checksum that would keep changes from the
// decoders: whatever they have is rows or an error.
func FuzzPart(f *testing.F) {
	for _, rows := range [][]VisitRow{nil, visitRows(), visitRows()[1:]} {
		path := filepath.Join(f.TempDir(), "seed")
		out, err := CreateFile[VisitRow](path)
		if err != nil {
			f.Fatal(err)
		}
		for _, row := range rows {
			if err := out.Write(row); err != nil {
				f.Fatal(err)
			}
		}
		if err := out.Close(); err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	path := filepath.Join(f.TempDir(), "part-00000001.parquet") // of this process
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		err := verifyFile[VisitRow](t.Context(), path)
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, errNewer) {
			t.Errorf("%v", err)
		}
		rows := 0
		if again := eachRow(t.Context(), path, func(VisitRow) error { rows++; return nil }); err == nil && again != nil {
			t.Errorf("%d rows, and then %v", rows, again)
		}
	})
}

// FuzzThrift: a walk that succeeds has consumed the beginning of its input.
func FuzzThrift(f *testing.F) {
	for _, seed := range []string{"\x00", "\x15\x04\x19\x2c\x18\x02id\x00\x00\x00", "\x19\xfc\xff\xff\xff\xff\x0f", "\x1c\x1c\x1c", "\x12\x11\x16\x01\x17\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\x0b\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rest, err := walkThrift(data)
		if err == nil && !bytes.HasSuffix(data, rest) || err != nil && !errors.Is(err, errThrift) {
			t.Errorf("%q left of %q, %v", rest, data, err)
		}
	})
}
