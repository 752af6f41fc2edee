package beaconapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
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

func FuzzCountMembers(f *testing.F) {
	f.Add(answer(2, 3))
	f.Add(`{"data":[{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := countMembers(strings.NewReader(text)); err == nil && n > uint64(len(text)) {
			t.Errorf("%d members in %d bytes", n, len(text))
		}
	})
}
