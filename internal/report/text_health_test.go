package report

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/chainbound/valtrack/internal/dataset"
)

// What a check of large datasets found fits the terminal, with all that is wrong.
func TestHealthFitsTheTerminal(t *testing.T) {
	h := &dataset.Health{
		Tables: []dataset.TableHealth{{
			Table: "validator_metadata_events", Parts: 12345, Rows: 67_500_000, From: hour(1), To: hour(2), DuplicateRows: 7, DuplicateKeys: 8, Purged: 3,
			Unreadable: []dataset.Unreadable{{File: "/var/lib/valtrack/validator_metadata_events.parquet/part-00000001.parquet", Error: "damaged: its checksum is another one"}},
		}},
		Sentries: []dataset.SentryHealth{{Sentry: "IJMVADS5KNUMR7TNC7WEJ4IF4J", Boot: "1883218925880557224", Last: 123_456_789, Stored: 123_456_780, Missing: 9, Gaps: []dataset.Interval{{1, 9}}}},
	}
	for _, width := range []int{0, 80, 100, 126} {
		var out bytes.Buffer
		var err error
		if width == 0 {
			err = WriteHealth(&out, h, "it lacks segments")
		} else {
			err = WriteHealth(Screen{&out, width}, h, "it lacks segments")
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > 0 && n > width && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%d columns on a terminal of %d: %s", n, width, line)
			}
		}
		text := strings.Join(strings.Fields(out.String()), " ")
		for _, want := range []string{"12345 67500000 ", " 7 8 1 ", "1883218925880557224 ", " 123456780 0 9 ", "gap IJMVADS5KNUMR7TNC7WEJ4IF4J-1883218925880557224 1 to 9", "part-00000001.parquet: damaged", "purged", "tracker it lacks segments"} {
			if !strings.Contains(text, want) {
				t.Errorf("width %d: no %q in\n%s", width, want, &out)
			}
		}
		if width == 0 && !strings.Contains(text, "2026-11-20T01:00:00Z 2026-11-20T02:00:00Z") {
			t.Errorf("no times in\n%s", &out)
		}
	}
}
