package report

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/client"
)

// remoteOf asks a server that answers with f.
func remoteOf(t *testing.T, f func(r *http.Request) (status int, body string)) *Remote {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body := f(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return NewRemote(c)
}

// A report lists again, once, when the server does not keep the rest of a list any more. No row is
// in it twice.
func TestRemoteListsAgain(t *testing.T) {
	for gone, want := range map[int]string{0: "a b", 1: "a b", 2: "410"} {
		left := gone
		r := remoteOf(t, func(r *http.Request) (int, string) {
			switch {
			case r.URL.Query().Get("cursor") == "":
				return http.StatusOK, `{"data":[{"id":"a","kind":"moved"}],"meta":{"next":"x"}}`
			case left > 0:
				left--
				return http.StatusGone, ``
			}
			return http.StatusOK, `{"data":[{"id":"b","kind":"moved"}],"meta":{"next":null}}`
		})
		changes, err := r.Changes(t.Context(), 1)
		got := ""
		for _, c := range changes.Changes {
			got = strings.TrimSpace(got + " " + c.ID)
		}
		if err != nil {
			got = fmt.Sprint(err)
		}
		if !strings.Contains(got, want) || err == nil && got != want {
			t.Errorf("gone %d times: %s, want %s", gone, got, want)
		}
	}
}

// The totals have what silent nodes may hide.
func TestRemoteTellsHiddenValidators(t *testing.T) {
	n := func(f float64) *float64 { return &f }
	v := validatorsOf(client.Summary{Validators: client.Validators{Attachments: n(1000), Low: n(900), High: n(1100), SilentNodes: n(4.6), HiddenValidators: n(312)}}, client.Meta{})
	if v == nil || !strings.HasPrefix(v.hidden(), "up to 312 more if 5 nodes,") {
		t.Errorf("%+v", v)
	}
}
