package dune

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A publication fills new tables in batches, and moves the saved queries to them; the one after
// the next deletes them.
func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDune(t)
		d.queries[7] = map[string]string{"name": "of the user", "sql": "SELECT 1"}
		p := publisher(t, d, 5)
		var tables []string
		for i := range 4 {
			out, err := p.Publish(t.Context())
			if err != nil || len(out) != 3 || out[0].Name != "valtrack_nodes" || out[0].Rows != 5 || out[1].Rows != 5 || out[2].Rows != 1 {
				t.Fatalf("%v: %+v", err, out)
			}
			if len(d.queries) != 4 || d.queries[out[0].Query]["sql"] != "SELECT * FROM dune.team."+out[0].Table {
				t.Errorf("queries %v", d.queries)
			}
			tables = append(tables, out[0].Table)
			if want := 3 * min(i+1, 2); len(d.tables) != want {
				t.Errorf("publication %d: %d tables are left, want %d", i, len(d.tables), want)
			}
			time.Sleep(2 * time.Hour)
		}
		const places = "Places and networks of addresses: IP Geolocation by DB-IP, https://db-ip.com, CC BY 4.0"
		if n := strings.Count(d.sent.String(), places); n != 4*2*2 { // each time in two tables and their queries
			t.Errorf("the sources of places are named %d times", n)
		}
		if n := strings.Count(strings.Join(d.calls, "\n"), tables[0]+"/insert"); n != 3 {
			t.Errorf("5 rows in %d batches of at most 2", n)
		}
		if !regexp.MustCompile(`^valtrack_nodes_\d{8}_\d{6}_[0-9a-f]{4}$`).MatchString(tables[0]) {
			t.Errorf("table %s", tables[0])
		}
	})
}

// Whatever goes wrong with whichever request, readers see a whole table at each moment, no row
// is there twice, and the next publication succeeds and leaves nothing behind.
func TestFaultsAtEachStep(t *testing.T) {
	faults := map[string]fault{
		"refused": refused, "busy": busy, "cut": cut, "lost": lost, "garbled": garbled, "died": died, "died after": diedAfter,
	}
	for name, what := range faults {
		for _, first := range []bool{true, false} { // whether nothing was published before
			for step, done := 1, false; !done; step++ {
				t.Run(fmt.Sprintf("%s/%v/%d", name, first, step), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { done = faultAt(t, what, first, step) })
				})
				if t.Failed() {
					return
				}
				if done && step < 12 {
					t.Fatalf("%d steps only", step)
				}
			}
		}
	}
}

// faultAt publishes with a fault at a step; done is that there are not so many.
func faultAt(t *testing.T, what fault, first bool, step int) (done bool) {
	d := newFakeDune(t)
	p := publisher(t, d, 5)
	if !first {
		if _, err := p.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d.die, d.calls = cancel, nil
	hit := false
	d.fault = func(call int) fault {
		if call != step {
			return none
		}
		hit = true
		return what
	}
	out, err := p.Publish(ctx)
	if what != died && what != diedAfter && err != nil {
		t.Errorf("one fault ended the publication: %v", err)
	}
	if err == nil && len(out) != 3 {
		t.Errorf("%+v", out)
	}
	if !hit {
		return true
	}
	d.fault = func(int) fault { return none }
	for range 3 {
		time.Sleep(3 * time.Hour)
		if _, err := p.Publish(t.Context()); err != nil {
			t.Fatalf("the publication after it: %v", err)
		}
	}
	if len(d.queries) != 3 || len(d.tables) != 6 { // those that are read, and those of before
		t.Errorf("%d queries and %d tables are left: %v", len(d.queries), len(d.tables), d.queries)
	}
	return false
}

// A fault that stays ends the publication with an error, within a bounded number of requests.
func TestFaultsThatStay(t *testing.T) {
	for name, what := range map[string]fault{"refused": refused, "busy": busy, "cut": cut, "garbled": garbled} {
		synctest.Test(t, func(t *testing.T) {
			d := newFakeDune(t)
			p := publisher(t, d, 5)
			if _, err := p.Publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.calls = nil
			d.fault = func(call int) fault {
				if call > 4 {
					return what
				}
				return none
			}
			if _, err := p.Publish(t.Context()); err == nil || len(d.calls) > 40 {
				t.Errorf("%s: %v after %d requests", name, err, len(d.calls))
			}
			d.checkReaders()
		})
	}
}

// Nothing that looks like an address is sent, also when a node writes one into its version; what
// needs a key is not in the columns.
func TestNoAddressIsSent(t *testing.T) {
	hidden := []string{"45.1.2.3", "2001:db8::1", "enr:-Lm4Q", "/ip4/45.1.2.3/tcp/9000", "/dns4/host.example.org/tcp/1", "host.example.org:9000"}
	for _, text := range hidden {
		d := newFakeDune(t)
		p := publisher(t, d, 3)
		p.source = source(t, 3, func(row map[string]any) {
			for _, name := range []string{"client_release", "as_name", "city", "os", "trust"} {
				row[name] = "x " + text
			}
			row["enr"], row["ip"], row["multiaddr"], row["port"] = "enr:secret", "45.9.9.9", "/ip4/45.9.9.9/tcp/9000", 9000
		})
		if _, err := p.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, secret := range append(hidden, "45.9.9.9", "enr:secret", "9000") {
			if strings.Contains(d.sent.String(), secret) {
				t.Errorf("%q was sent", secret)
			}
		}
		if !strings.Contains(d.sent.String(), `"client":"lighthouse"`) {
			t.Error("other cells were not sent")
		}
	}
}

// The API keeps the rest of a list for seconds only: all is read before the first upload, and from
// the start again when it is gone.
func TestAllIsReadBeforeUploads(t *testing.T) {
	for gone, ok := range map[int]bool{0: true, 1: true, 2: false} {
		synctest.Test(t, func(t *testing.T) {
			d := newFakeDune(t)
			p := publisher(t, d, 5)
			api, left := answers(t, 5, nil), gone
			p.source = sourceOf(t, func(r *http.Request) (*http.Response, error) {
				if len(d.tables) > 0 {
					t.Errorf("%s is asked for after an upload began", r.URL)
				}
				res, err := api(r)
				if err != nil || r.URL.Path != "/api/v1/nodes" {
					return res, err
				}
				if r.URL.Query().Get("cursor") == "" { // the first of two pages, of which the second is empty
					body, err := io.ReadAll(res.Body)
					res.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte(`"next":null`), []byte(`"next":"x"`), 1)))
					return res, err
				}
				if left > 0 {
					left--
					res.StatusCode = http.StatusGone
				}
				res.Body = io.NopCloser(strings.NewReader(`{"data":[],"meta":{"next":null}}`))
				return res, nil
			})
			out, err := p.Publish(t.Context())
			if (err == nil) != ok || ok && out[0].Rows != 5 || !ok && len(d.tables) > 0 {
				t.Errorf("gone %d times: %v, %+v, %d tables", gone, err, out, len(d.tables))
			}
		})
	}
}

// Without rows nothing is published, and what is there stays.
func TestNothingToPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDune(t)
		p := publisher(t, d, 3)
		if _, err := p.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.source = source(t, 0, nil)
		if _, err := p.Publish(t.Context()); err == nil || !strings.Contains(err.Error(), "no rows for it yet") {
			t.Errorf("%v", err)
		}
		d.checkReaders()
	})
}

func TestWrongKeyIsDenied(t *testing.T) {
	d := newFakeDune(t)
	p := publisher(t, d, 3)
	p.api.key = "wrong"
	if _, err := p.Publish(t.Context()); !Denied(err) || strings.Contains(err.Error(), "wrong") || len(d.calls) != 1 {
		t.Errorf("%v after %v", err, d.calls)
	}
}

func TestConfig(t *testing.T) {
	good := Config{URL: DefaultURL, Key: "k", Namespace: "team", Prefix: "valtrack", Log: slog.New(slog.DiscardHandler)}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]func(*Config){
		"URL": func(c *Config) { c.URL = "dune.com" }, "namespace": func(c *Config) { c.Namespace = "a/b" }, "prefix": func(c *Config) { c.Prefix = "1x" }, "key": func(c *Config) { c.Key = "" },
	} {
		cfg := good
		if bad(&cfg); cfg.Check() == nil {
			t.Errorf("a bad %s is taken", name)
		}
	}
}

// No answer of Dune makes the publisher panic or go on without an end.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"tables":[{"full_name":"dune.team.x"}],"next_offset":1,"queries":[{"id":1,"name":"valtrack_nodes"}],"total":9,"rows_written":2,"query_id":3,"query_sql":"SELECT"}`))
	f.Add(404, []byte(`{"error":"none"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		synctest.Test(t, func(t *testing.T) { // waits take no time
			p := publisher(t, newFakeDune(t), 3)
			calls := 0
			p.api.http = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				if calls++; calls > 2000 {
					t.Fatal("it asks without an end")
				}
				return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body))}, nil
			})}
			p.Publish(t.Context())
		})
	})
}
