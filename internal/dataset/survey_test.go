package dataset

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSurvey(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	defer w.Close()
	commitAll(t, w, 1, 10)
	commitAll(t, w, 11, 10)
	now := noon
	s := NewSurvey(dir)
	s.now = func() time.Time { return now }
	check := func(when string, want TableFigures) {
		t.Helper()
		tables := s.Tables()
		want.Table = Metadata
		if d := cmp.Diff(want, tables[len(tables)-1]); d != "" || len(tables) != len(Tables()) {
			t.Errorf("%s, %d tables (-want +got):\n%s", when, len(tables), d)
		}
	}
	check("two segments after the empty one", TableFigures{Rows: 20, Parts: 3})
	commitAll(t, w, 21, 5)
	check("within the minute", TableFigures{Rows: 20, Parts: 3})
	now = now.Add(surveyEvery)
	check("a third segment", TableFigures{Rows: 25, Parts: 4})

	path := single(3).path(dir, Metadata)
	third, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"4": []byte("PAR1"), "5": third} {
		if err := os.WriteFile(strings.Replace(path, "3.parquet", name+".parquet", 1), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(surveyEvery)
	check("a damaged part and a copy", TableFigures{Rows: 30, Parts: 5, Unreadable: 1, DuplicateKeys: 5})

	second, err := os.ReadFile(single(2).path(dir, Metadata))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(strings.Replace(path, "3.parquet", "5.parquet", 1), second, 0o644); err != nil {
		t.Fatal(err)
	}
	now = now.Add(surveyEvery)
	check("another part of the copy's name", TableFigures{Rows: 35, Parts: 5, Unreadable: 1, DuplicateKeys: 10})
}

func TestSurveyOfAnEmptyDirectory(t *testing.T) {
	for _, got := range NewSurvey(t.TempDir()).Tables() {
		if got != (TableFigures{Table: got.Table}) {
			t.Errorf("%+v", got)
		}
	}
}
