package dataset

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/chainbound/valtrack/internal/buildinfo"
)

// Parts and exported files say which program wrote them.
func TestFilesNameTheirProgram(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "nodes.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	file := NewFile[NodeRow](f)
	var streamed bytes.Buffer
	stream := NewStream[NodeRow](&streamed)
	for _, err := range []error{file.Write(NodeRow{ID: "a"}), file.Close(), stream.Write(NodeRow{ID: "a"}), stream.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	exported, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"export": exported, "stream": streamed.Bytes()} {
		p, err := parquet.OpenFile(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := p.Lookup(footerProgram); got != buildinfo.Read().String() || got == "" {
			t.Errorf("%s: written by %q", name, got)
		}
	}
	entries, err := footer{}.entries()
	if err != nil || entries[footerProgram] != buildinfo.Read().String() {
		t.Errorf("part: %v, %v", entries, err)
	}
}
