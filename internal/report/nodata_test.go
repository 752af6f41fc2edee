package report

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

// A directory without rows is told apart from one with rows that a report does not list.
func TestNoData(t *testing.T) {
	dir := t.TempDir()
	says := func(want string) {
		t.Helper()
		got, err := NoData(t.Context(), dir)
		if err != nil || (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	says("has no datasets: 'valtrack run' or a consumer makes them there; --data-dir names another directory")
	w, err := dataset.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Commit(nil); err != nil {
		t.Fatal(err)
	}
	says("nothing is stored in " + dir + " yet: while 'valtrack run' or a consumer runs, events become readable with the next commit")
	if err := dataset.Append(w, dataset.VisitRow{ID: "a", Common: dataset.Common{Network: "n", Timestamp: hour(1)}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(dataset.Coverage{"s-1": {{1, 1}}}); err != nil {
		t.Fatal(err)
	}
	says("")
}

// A list of nodes without any says why.
func TestNoNodes(t *testing.T) {
	rows := append(met("a", hour(1), "1", ""), dataset.DiscoveryRow{ID: "b", Common: dataset.Common{Network: "n", Timestamp: hour(3)}}, missed("b", hour(3)))
	for in, want := range map[dataset.Range]string{
		{From: hour(2), To: hour(4)}: "no node completed a handshake in this window: the records of 1 were found, and visits to 1 ended",
		{From: hour(5), To: hour(6)}: "nothing was recorded in this window; the data is from 2026-11-20T01:00:00Z to 2026-11-20T03:00:00Z",
	} {
		var out bytes.Buffer
		if err := reportOf(t, in, rows...).WriteNodes(&out); err != nil || !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("no %q, %v in\n%s", want, err, &out)
		}
	}
}
