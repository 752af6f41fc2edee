package eventlog

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/chainbound/valtrack/internal/event"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zstdCompressed(t *testing.T, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll([]byte(text), nil))
}

func indented(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func logFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// The same events are published, under the same keys, however a file is written.
func TestReplayOfEveryFormat(t *testing.T) {
	line := func(n int) string { return strings.SplitN(wire(t, "", visit(n)), "  ", 2)[1] }
	one, two := line(1), line(2)
	keyed := strings.Replace(line(3), "{", `{"event_key":"a-1-2",`, 1)
	lines := strings.Join([]string{one, two, keyed}, "\n") + "\n"
	want, bad := replay(t, logFile(t, "visit_events.log", lines))
	if len(want.messages) != 3 || len(bad) > 0 {
		t.Fatalf("%q, bad %q", want.messages, bad)
	}
	array := "[" + strings.Join([]string{one, two, keyed}, ",") + "]"
	const bom = "\xef\xbb\xbf"
	for name, text := range map[string]string{
		"gz": gzipped(t, lines), "two members": gzipped(t, one+"\n") + gzipped(t, two+"\n"+keyed+"\n"), "zst": zstdCompressed(t, lines),
		"bom": bom + lines, "bom in gz": gzipped(t, bom+lines), "crlf": strings.ReplaceAll(lines, "\n", "\r\n"), "no newline": strings.TrimSpace(lines),
		"array": array, "array in lines": "[\n" + one + ",\n" + two + ",\n" + keyed + "\n]\n", "indented array": indented(t, array),
		"indented": indented(t, one) + "\n" + indented(t, two) + "\n" + indented(t, keyed) + "\n", "indented, bom, zst": zstdCompressed(t, bom+indented(t, array)),
	} {
		got, bad := replay(t, logFile(t, "visit_events-x.log", text))
		if d := cmp.Diff(want.messages, got.messages); d != "" || len(bad) > 0 {
			t.Errorf("%s: bad %q, messages (-want +got):\n%s", name, bad, d)
		}
	}
}

// What cannot be read is reported, with where, and keeps what was read before.
func TestReplayOfUnreadableFiles(t *testing.T) {
	line := strings.SplitN(wire(t, "", visit(1)), "  ", 2)[1]
	for name, c := range map[string]struct {
		text      string
		published int
		bad, err  string
	}{
		"empty":               {"", 0, "", "nothing was published: 0 lines are not events"},
		"nonsense":            {"x\ny\n", 0, ":1: ", "nothing was published: 2 lines are not events"},
		"empty array":         {"[]", 0, "", "nothing was published"},
		"cut array":           {"[\n" + line + ",\n", 1, ":2: the rest of the file is skipped: unexpected EOF", ""},
		"cut value":           {"[\n" + line + ",\n" + line[:40], 1, ": the rest of the file is skipped: ", ""},
		"bad value":           {"[\n" + line + ",\n{]\n" + line, 1, ": the rest of the file is skipped: invalid character", ""},
		"behind the array":    {"[" + line + "]\n" + line, 1, ":2: the rest of the file is skipped: there is more behind the array", ""},
		"other value":         {"[7,\n" + line + ",\nnull]", 1, ":1: ", ""},
		"huge value":          {`[{"x":"` + strings.Repeat("x", 3*event.MaxSize) + `"}]`, 0, "", "line 1: bufio.Scanner: token too long"},
		"torn first line":     {"{\n" + line + "\n", 1, ":1: ", ""},
		"cut gzip":            {gzipped(t, line+"\n"+strings.Repeat("x\n", 1e6))[:200], 0, "", "unexpected EOF"},
		"damaged zstd":        {zstdCompressed(t, line)[:60], 0, "", "unexpected EOF"},
		"xz":                  {"\xfd7zXZ\x00", 0, "", "compressed with xz: want JSON lines in UTF-8, plain or compressed with gzip or zstd"},
		"utf-16":              {"\xff\xfe{\x00", 0, "", "in UTF-16"},
		"compressed twice":    {gzipped(t, gzipped(t, line)), 0, "", "compressed twice"},
		"a file without data": {"\xef\xbb\xbf", 0, "", "nothing was published"},
	} {
		path := logFile(t, "visit_events.log", c.text)
		var p published
		var bad []string
		stats, err := Replay(t.Context(), &p, []string{path}, "", func(b BadLine) { bad = append(bad, fmt.Sprintf(":%d: %v", b.Line, b.Err)) })
		if stats.Published != c.published && c.err != "unexpected EOF" || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v", name, stats, err)
		}
		if !strings.Contains(strings.Join(bad, "\n"), c.bad) || stats.Bad != len(bad) || c.bad == "" && len(bad) > 0 && c.err != "unexpected EOF" {
			t.Errorf("%s: bad lines %q, want %q", name, bad, c.bad)
		}
		if nothing := stats.Published == 0 && !strings.Contains(c.err, "EOF"); nothing && strings.HasPrefix(c.err, "nothing") != errors.Is(err, ErrNothingPublished) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const (
	earlierHandshakeLine = `{"enr":"enr:-x","id":"16Uiu2HAm9dqnTSYPpqFevmJXXvRUavRzcEuYPVS2htkoQLumpu4w","multiaddr":"/ip4/54.184.85.102/tcp/13000","epoch":286684,"metadata":{"seq_number":82,"attnets":"ABgAAAAAAAA=","syncnets":"AA=="},"subscribed_subnets":[63,11,12,11],"client_version":"Prysm/v5.0.0/b7b017","crawler_id":"m1","crawler_location":"fra","timestamp":1716910737176}`
	earlierDiscoveryLine = `{"enr":"enr:-MK4QL0Zcy4Im9-G8LkhvmNqnGt7YzdJiO7pYtyUmBXWeHiYSocZZ8yQr55ohDbcLdBhEBf78ybkI6peRv_aiKkSTbqGAY3z9g8jh2F0dG5ldHOIABgAAAAAAACEZXRoMpBqlaGpBAAAAP__________gmlkgnY0gmlwhDa4VWaJc2VjcDI1NmsxoQLTIaw2TWEG0Q95Vswh0iYIfWH6fEd2kFM0WaVQ0_VtDIhzeW5jbmV0cwCDdGNwgjLIg3VkcIIu4A","id":"16Uiu2HAm9dqnTSYPpqFevmJXXvRUavRzcEuYPVS2htkoQLumpu4w","ip":"54.184.85.102","port":13000,"crawler_id":"m1","crawler_location":"fra","timestamp":1716910737176}`
)

func TestReplayOfTheEarlierProgram(t *testing.T) {
	files := []string{logFile(t, "metadata_events.log", earlierHandshakeLine+"\n"), logFile(t, "discovery_events.log", earlierDiscoveryLine+"\n")}
	var p replayed
	if _, err := Replay(t.Context(), &p, files, "mainnet", func(b BadLine) { t.Error(b) }); err != nil {
		t.Fatal(err)
	}
	e, err := event.Decode(p.subjects[0], []byte(p.data[0]))
	if err != nil {
		t.Fatal(err)
	}
	m := e.(*event.MetadataReceived)
	if m.Network != "mainnet" || m.CrawlerLocation != "fra" || m.MetaData.Attnets.String() != "0x0018000000000000" || *m.MetaData.Syncnets != 0 || m.MetaData.SeqNumber != 82 ||
		m.Epoch != 286684 || !cmp.Equal(m.SubscribedSubnets, []int{11, 12, 63}) || m.SyncSubnets != nil {
		t.Errorf("handshake %+v, %+v", m, m.MetaData)
	}
	if e, err = event.Decode(p.subjects[1], []byte(p.data[1])); err != nil {
		t.Fatal(err)
	}
	if d := e.(*event.PeerDiscovered); d.Seq == 0 || d.NodeID.String() == "" || d.IP != "54.184.85.102" || d.Port != 13000 || d.Network != "mainnet" {
		t.Errorf("discovery %+v", d)
	}
	again := replayed{}
	if _, err := Replay(t.Context(), &again, files, "mainnet", func(b BadLine) { t.Error(b) }); err != nil || !cmp.Equal(p, again, cmp.AllowUnexported(replayed{})) {
		t.Errorf("a second replay differs: %v", err)
	}
	var bad []string
	stats, err := Replay(t.Context(), &p, files, "", func(b BadLine) { bad = append(bad, b.Err.Error()) })
	if !errors.Is(err, ErrNothingPublished) || stats.Bad != 2 || !strings.Contains(bad[0], "does not name its network: give --network") || !strings.Contains(bad[1], "does not name its network: give --network") {
		t.Errorf("without a network: %+v, %v, %q", stats, err, bad)
	}
}

func FuzzEarlier(f *testing.F) {
	f.Add([]byte(earlierHandshakeLine))
	f.Add([]byte(earlierDiscoveryLine))
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, subject := range event.Subjects() {
			e, ok, err := fromEarlier(subject, "mainnet", line)
			if !ok || err != nil {
				continue
			}
			if data, err := event.Encode(e); err == nil {
				if _, err := event.Decode(subject, data); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// However a file is damaged, reading ends.
func FuzzInput(f *testing.F) {
	f.Add([]byte("[{},\n{}]"))
	f.Add([]byte("{\n\"a\":1}\n{}"))
	f.Add([]byte("{}\n{}\n"))
	f.Add([]byte("\x1f\x8b\x08\x00\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		in, err := openInput(logFile(t, "x", string(text)))
		if err != nil {
			return
		}
		defer in.Close()
		last := 0
		_ = in.each(1000, func(r record) error {
			if r.counter <= last || r.Number < 1 || len(r.Text) > 2000 {
				t.Fatalf("record %+v behind %d", r, last)
			}
			last = r.counter
			return nil
		})
	})
}
