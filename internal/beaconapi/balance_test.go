package beaconapi

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// validators is a response with a balance of each.
func validators(gwei ...string) string {
	var list []string
	for i, g := range gwei {
		list = append(list, fmt.Sprintf(`{"index":"%d","balance":"1","status":"active_ongoing","validator":{"pubkey":"0xaa","effective_balance":%s,"slashed":false}}`, i, g))
	}
	return `{"execution_optimistic":false,"data":[` + strings.Join(list, ",") + `]}`
}

// nodeWith serves committees with so many members at each slot, whose balances in ETH are given
// by their index.
func nodeWith(t *testing.T, perSlot int, balance func(index string) int) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			slots := 1
			if r.URL.Query().Has("epoch") {
				slots = 32
			}
			var members []string
			for i := range slots * perSlot {
				members = append(members, fmt.Sprintf(`"%d"`, i))
			}
			fmt.Fprintf(w, `{"data":[{"validators":[%s]}]}`, strings.Join(members, ","))
			return
		}
		var body struct{ IDs []string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/eth/v1/beacon/states/head/validators" {
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		var list []string
		for _, id := range body.IDs {
			list = append(list, fmt.Sprintf(`"%d000000000"`, balance(id)))
		}
		fmt.Fprint(w, validators(list...))
	}))
	t.Cleanup(s.Close)
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMeanBalance(t *testing.T) {
	everyTenth := func(index string) int {
		if strings.HasSuffix(index, "7") {
			return 2048
		}
		return 32
	}
	for name, test := range map[string]struct {
		perSlot       int
		balance       func(string) int
		mean          float64
		error1, upper float64
	}{
		"all the same":  {30_000, func(string) int { return 32 }, 32, leastError, leastError},
		"a tenth large": {30_000, everyTenth, 233.6, 0.01, 0.02},
		"small network": {2, everyTenth, 32 + 6*2016/64., leastError, leastError}, // all of the 64 validators
		"many in one":   {60_000, everyTenth, 233.6, 0.01, 0.02},
	} {
		mean, off, err := nodeWith(t, test.perSlot, test.balance).MeanBalance(t.Context(), clock, at)
		if err != nil || math.Abs(mean/test.mean-1) > 0.001 || off < test.error1 || off > test.upper {
			t.Errorf("%s: %.2f ETH, relative error %.4f, %v; want %.2f", name, mean, off, err, test.mean)
		}
	}
}

// What is no balance is an error, not a stake.
func TestMeanBalanceOfBadResponses(t *testing.T) {
	for name, response := range map[string]string{
		"zero": validators(`"0"`), "a number": validators(`32000000000`), "too much": validators(`"99999000000000"`), "text": validators(`"many"`),
		"too few": validators(), "too many": validators(`"32000000000"`, `"32000000000"`), "cut": `{"data":[{"validator":{"effective_balance":"32`,
		"no list": `{"data":{}}`, "nested": `{"data":[{"other":` + strings.Repeat("[", 200),
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				fmt.Fprint(w, `{"data":[{"validators":["5"]}]}`)
				return
			}
			fmt.Fprint(w, response)
		}))
		c, err := New(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		if mean, _, err := c.MeanBalance(t.Context(), clock, at); err == nil || mean != 0 || !strings.HasPrefix(err.Error(), "beacon API: ") {
			t.Errorf("%s: %v, %v", name, mean, err)
		}
		s.Close()
	}
}

func FuzzReadBalances(f *testing.F) {
	f.Add(validators(`"32000000000"`, `"2048000000000"`))
	f.Fuzz(func(t *testing.T, text string) {
		var s balances
		if readBalances(strings.NewReader(text), &s) == nil && s.n > 0 {
			if mean, off := s.mean(s.n); !(mean > 0) || !(off >= leastError) {
				t.Errorf("%v, %v", mean, off)
			}
		}
	})
}
