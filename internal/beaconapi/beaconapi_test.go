package beaconapi

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

var clock = eth2.Clock{Genesis: time.Unix(1000, 0), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}

// answer has so many committees of so many members.
func answer(committees, members int) string {
	one := `{"index":"0","slot":"1","validators":[` + strings.TrimSuffix(strings.Repeat(`"7",`, members), ",") + `]}`
	return `{"execution_optimistic":false,"data":[` + strings.TrimSuffix(strings.Repeat(one+",", committees), ",") + `],"finalized":false}`
}

func serve(t *testing.T, answers map[string]string) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := answers[r.URL.RequestURI()]
		if !ok {
			http.Error(w, "unknown slot", http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, text)
	}))
	t.Cleanup(s.Close)
	c, err := New(s.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// at is in epoch 3, whose first slot is 96.
var at = clock.EpochStart(3).Add(time.Minute)

const path = "/eth/v1/beacon/states/head/committees"

func TestActiveValidators(t *testing.T) {
	for name, test := range map[string]struct {
		answers map[string]string
		want    uint64
	}{
		"large network, from one slot":    {map[string]string{path + "?slot=96": answer(64, 400)}, 32 * 64 * 400},
		"small network, the whole epoch":  {map[string]string{path + "?slot=96": answer(1, 2), path + "?epoch=3": answer(32, 2)}, 64},
		"a slot without members is small": {map[string]string{path + "?slot=96": answer(1, 1), path + "?epoch=3": answer(33, 1)}, 33},
	} {
		got, err := serve(t, test.answers).ActiveValidators(t.Context(), clock, at)
		if err != nil || got != test.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, test.want)
		}
	}
}

func TestErrors(t *testing.T) {
	for name, answers := range map[string]map[string]string{
		"not in sync":   {},
		"no committees": {path + "?slot=96": `{"data":[]}`},
		"cut short":     {path + "?slot=96": answer(64, 400)[:5000]},
		"another shape": {path + "?slot=96": `{"data":{}}`},
		"not JSON":      {path + "?slot=96": `<html>`},
		"no indices":    {path + "?slot=96": `{"data":[{"validators":[0,0,0]}]}`},
		"texts":         {path + "?slot=96": `{"data":[{"validators":["0x00"]}]}`},
		"too many":      {path + "?slot=96": answer(64, 5000)},
		"too large":     {path + "?slot=96": `{"data":[{"validators":["1"]}]}`, path + "?epoch=3": endless(17 << 20)},
	} {
		if n, err := serve(t, answers).ActiveValidators(t.Context(), clock, at); err == nil {
			t.Errorf("%s: %d without an error", name, n)
		}
	}
	for _, url := range []string{"", "localhost:5052", "ftp://localhost", "http://"} {
		if _, err := New(url); err == nil {
			t.Errorf("took the URL %q", url)
		}
	}
}

// endless is an answer of at least so many bytes.
func endless(bytes int) string {
	return `{"data":[{"validators":[` + strings.Repeat(`"0",`, bytes/4) + `"0"]}]}`
}

// An answer takes a bounded time and little memory, whatever is in it.
func TestHugeAnswers(t *testing.T) {
	for name, text := range map[string][2]string{
		"numbers":  {`{"data":[{"validators":[`, "0,"},
		"indices":  {`{"data":[{"validators":[`, `"0",`},
		"others":   {`{"x":[`, "0,"},
		"brackets": {`{"x":[`, "["},
		"names":    {`{`, `"a":0,`},
		"members":  {`{"data":[`, `{"validators":[]},`},
	} {
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		r := &endlessReader{text: text[0], unit: strings.Repeat(text[1], 1000)}
		if n, err := countMembers(r); err == nil {
			t.Errorf("%s: %d members", name, n)
		}
		if grown := int64(r.peak) - int64(before.HeapAlloc); grown > 16<<20 {
			t.Errorf("%s: the heap grew by %d MB", name, grown>>20)
		}
		if r.size > maxResponse {
			t.Errorf("%s: %d bytes were read", name, r.size)
		}
	}
}

// endlessReader repeats a unit after its text, and looks at the heap meanwhile.
type endlessReader struct {
	text, unit string
	size       int
	peak       uint64
}

func (e *endlessReader) Read(b []byte) (int, error) {
	if e.text == "" {
		e.text = e.unit
	}
	n := copy(b, e.text)
	e.text = e.text[n:]
	if e.size += n; e.size>>20 != (e.size-n)>>20 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		e.peak = max(e.peak, m.HeapAlloc)
	}
	return n, nil
}

func FuzzCountMembers(f *testing.F) {
	f.Add(answer(2, 3))
	f.Add(`{"data":[{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := countMembers(strings.NewReader(text)); err == nil && n > uint64(len(text)) {
			t.Errorf("%d members in %d bytes", n, len(text))
		}
	})
}

func countMembers(r io.Reader) (n uint64, err error) {
	err = readMembers(&capped{r, maxResponse}, func(uint64) { n++ })
	return n, err
}
