package spool

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzAckFile: the file of the acknowledged position is read back, or means the beginning.
func FuzzAckFile(f *testing.F) {
	f.Add(make([]byte, ackedSize))
	f.Add([]byte("torn"))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ackedName), content, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := openAckFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer a.file.Close()
		b, err := openAckFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer b.file.Close()
		if a.saved != b.saved {
			t.Errorf("%+v, then %+v", a.saved, b.saved)
		}
	})
}
