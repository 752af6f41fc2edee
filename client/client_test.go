package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// fakeClient asks a function.
func fakeClient(t testing.TB, server func(*http.Request) (*http.Response, error)) *Client {
	t.Helper()
	c, err := New(Config{URL: "http://api.test", HTTP: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		res, err := server(r)
		if res != nil {
			res.Request = r
		}
		return res, err
	})}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer is one of the API.
func answer(status int, body string) *http.Response {
	kind := "application/json"
	if status != http.StatusOK {
		kind = "application/problem+json"
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body))}
}

// cutOff is a body that ends with an error.
type cutOff struct{ io.Reader }

func (c cutOff) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// reply is what a server does: an answer, no connection, or one that is cut off.
type reply struct {
	status           int
	after            string // Retry-After
	refused, cut, no bool   // no is JSON that does not parse
}

func (r reply) send() (*http.Response, error) {
	const good = `{"data":{"nodes":{"counted":7}},"meta":{}}`
	switch {
	case r.refused:
		return nil, errors.New("refused")
	case r.status != 0:
		res := answer(r.status, `{"title":"busy","detail":"not now"}`)
		if r.after != "" {
			res.Header.Set("Retry-After", r.after)
		}
		return res, nil
	case r.no:
		return answer(http.StatusOK, good[:20]), nil
	}
	res := answer(http.StatusOK, good)
	if r.cut {
		res.Body = io.NopCloser(cutOff{strings.NewReader(good[:20])})
	}
	return res, nil
}

// Temporary failures are retried, no sooner than the server asks for; others are not.
func TestRetries(t *testing.T) {
	good := reply{}
	for name, test := range map[string]struct {
		replies  []reply
		ok       bool
		least    time.Duration // that passes
		requests int
	}{
		"at once":                {[]reply{good}, true, 0, 1},
		"rate limit":             {[]reply{{status: 429, after: "7"}, good}, true, 7 * time.Second, 2},
		"a date":                 {[]reply{{status: 503, after: "Sat, 01 Jan 2000 00:00:09 GMT"}, good}, true, 8 * time.Second, 2},
		"a date that has passed": {[]reply{{status: 503, after: "Mon, 02 Jan 1995 00:00:00 GMT"}, good}, true, 0, 2},
		"gateway":                {[]reply{{status: 502}, {status: 504}, good}, true, 300 * time.Millisecond, 3},
		"cannot be reached":      {[]reply{{refused: true}, good}, true, 0, 2},
		"cut off":                {[]reply{{cut: true}, good}, true, 0, 2},
		"too long a wait":        {[]reply{{status: 429, after: "3600"}, good}, false, 0, 1},
		"busy all the time":      {[]reply{{status: 503}}, false, time.Second, 5},
		"bad request":            {[]reply{{status: 400}, good}, false, 0, 1},
		"wrong key":              {[]reply{{status: 401}, good}, false, 0, 1},
		"mistake":                {[]reply{{status: 500}, good}, false, 0, 1},
		"no JSON":                {[]reply{{no: true}, good}, false, 0, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			requests := 0
			c := fakeClient(t, func(*http.Request) (*http.Response, error) {
				requests++
				return test.replies[min(requests, len(test.replies))-1].send()
			})
			began := time.Now()
			s, err := c.Summary(t.Context())
			if (err == nil) != test.ok || test.ok && s.Data.Nodes.Counted != 7 {
				t.Errorf("%s: %v, %+v", name, err, s.Data.Nodes)
			}
			if took := time.Since(began); took < test.least || took > test.least+time.Minute || requests != test.requests {
				t.Errorf("%s: %d requests in %v, want %d in %v", name, requests, took, test.requests, test.least)
			}
		})
	}
}

// A context that ends stops the wait.
func TestContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fakeClient(t, func(*http.Request) (*http.Response, error) {
			res := answer(http.StatusServiceUnavailable, "{}")
			res.Header.Set("Retry-After", "50")
			return res, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := c.Crawl(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// Errors name the parameter, what it may be, and where they come from.
func TestErrors(t *testing.T) {
	c := fakeClient(t, func(*http.Request) (*http.Response, error) {
		return answer(http.StatusBadRequest, `{"title":"Bad Request","detail":"step=2h: want one of 1h, 6h, 1d","parameter":"step","allowed":["1h","6h","1d"],"status":777}`), nil
	})
	_, err := c.Timeseries(t.Context(), TimeseriesQuery{Step: "2h"})
	var answered *Error
	if !errors.As(err, &answered) || answered.Status != 400 || answered.Parameter != "step" || len(answered.Allowed) != 3 {
		t.Fatalf("%#v", err)
	}
	if want := "http://api.test/api/v1/timeseries?step=2h: 400 step=2h: want one of 1h, 6h, 1d"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	c = fakeClient(t, func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/html"}}, Body: io.NopCloser(strings.NewReader("<html>"))}, nil
	})
	if _, err := c.Summary(t.Context()); err == nil || !strings.Contains(err.Error(), "is this the address of a Valtrack API?") {
		t.Errorf("HTML: %v", err)
	}
}

func page(next string, ids ...string) *http.Response {
	rows := make([]string, len(ids))
	for i, id := range ids {
		rows[i] = fmt.Sprintf(`{"id":%q}`, id)
	}
	if next != "null" {
		next = `"` + next + `"`
	}
	return answer(http.StatusOK, fmt.Sprintf(`{"data":[%s],"meta":{"next":%s,"total":5}}`, strings.Join(rows, ","), next))
}

// Nodes follows the pages to the last one, stops when its reader does, and after an error.
func TestNodesFollowsPages(t *testing.T) {
	var asked []string
	pages := map[string]func() *http.Response{
		"":  func() *http.Response { return page("b", "1", "2") },
		"b": func() *http.Response { return page("c", "3", "4") },
		"c": func() *http.Response { return page("null", "5") },
	}
	c := fakeClient(t, func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.Query().Get("cursor"))
		if r.URL.Query().Get("sort") != "-validators" || r.URL.Query().Get("limit") != "2" {
			t.Errorf("asked for %s", r.URL.RawQuery)
		}
		return pages[asked[len(asked)-1]](), nil
	})
	query := NodeQuery{Sort: "-validators", PageSize: 2}
	ids := ""
	for n, err := range c.Nodes(t.Context(), query) {
		if err != nil {
			t.Fatal(err)
		}
		ids += n.ID
	}
	if ids != "12345" || strings.Join(asked, ",") != ",b,c" {
		t.Errorf("nodes %s of pages %q", ids, asked)
	}
	asked = nil
	for range c.Nodes(t.Context(), query) {
		break
	}
	if len(asked) != 1 {
		t.Errorf("%d pages for one node", len(asked))
	}
	for name, stuck := range map[string]func() *http.Response{
		"the same page": func() *http.Response { return page("c", "5") },
		"an empty page": func() *http.Response { return page("d") },
		"an error":      func() *http.Response { return answer(http.StatusBadRequest, `{"detail":"no such cursor"}`) },
	} {
		pages["c"] = stuck
		asked = nil
		var last error
		for _, last = range c.Nodes(t.Context(), query) {
		}
		if last == nil || len(asked) != 3 {
			t.Errorf("%s: error %v after %d pages", name, last, len(asked))
		}
	}
}

// Changes follow their pages. A list that is gone is not begun again, and the error says so.
func TestChangesFollowPages(t *testing.T) {
	var asked []string
	change := func(next string, seq int) *http.Response {
		return answer(http.StatusOK, fmt.Sprintf(`{"data":[{"kind":"moved","id":"x","seq":%d,"found_at":5}],"meta":{"next":%s,"latest":"log.9"}}`, seq, next))
	}
	gone := false
	c := fakeClient(t, func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.Query().Get("cursor"))
		switch {
		case r.URL.Path != "/api/v1/changes" || r.URL.Query().Get("since") != "7" || r.URL.Query().Get("limit") != "1000" || r.URL.Query().Get("kind") != Moved:
			t.Errorf("asked for %s", r.URL)
		case asked[len(asked)-1] == "":
			return change(`"log.8"`, 8), nil
		case gone:
			return answer(http.StatusGone, `{"detail":"not kept any more"}`), nil
		}
		return change("null", 7), nil
	})
	query := ChangeQuery{Since: 7, Kind: []string{Moved}}
	all := c.Changes(t.Context(), query)
	for range 2 { // the sequence can be used again
		asked = nil
		var seqs []int64
		for x, err := range all {
			if err != nil || x.FoundAt == nil {
				t.Fatalf("%v, %+v", err, x)
			}
			seqs = append(seqs, x.Seq)
		}
		if fmt.Sprint(seqs) != "[8 7]" || strings.Join(asked, ",") != ",log.8" {
			t.Errorf("changes %v of pages %q", seqs, asked)
		}
	}
	if page, err := c.ChangesPage(t.Context(), query); err != nil || len(page.Data) != 1 || page.Meta.Latest != "log.9" {
		t.Errorf("%+v, %v", page, err)
	}
	gone, asked = true, nil
	var last error
	rows := 0
	for _, err := range all {
		if last = err; err == nil {
			rows++
		}
	}
	status := (*Error)(nil)
	if !errors.As(last, &status) || status.Status != http.StatusGone || !strings.Contains(last.Error(), "the list ended early, after 1 rows; list it again from the start") || rows != 1 || len(asked) != 2 {
		t.Errorf("%d rows of %d pages, %v", rows, len(asked), last)
	}
}

// The key goes to the API only: redirects are not followed.
func TestKeyStaysWithTheAPI(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed with the headers %v", r.Header)
	}))
	defer elsewhere.Close()
	var key string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("X-API-Key")
		http.Redirect(w, r, elsewhere.URL, http.StatusFound)
	}))
	defer api.Close()
	c, err := New(Config{URL: api.URL, Key: "vt_secret"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Summary(t.Context()); err == nil || !strings.Contains(err.Error(), "redirects to") || strings.Contains(err.Error(), "vt_secret") || key != "vt_secret" {
		t.Errorf("%v; key %q", err, key)
	}
}

// An id may have any characters; none of them leads to another path.
func TestPathsAreEscaped(t *testing.T) {
	var asked []string
	c := fakeClient(t, func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.EscapedPath())
		return answer(http.StatusNotFound, "{}"), nil
	})
	for _, id := range []string{"a/../../x", "a?b", "..", "", "%2e%2e"} {
		if _, err := c.Node(t.Context(), id); err == nil {
			t.Errorf("%q: no error", id)
		}
	}
	if want := "[/api/v1/nodes/a%2F..%2F..%2Fx /api/v1/nodes/a%3Fb /api/v1/nodes/%252e%252e]"; fmt.Sprint(asked) != want {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestAnswersAreBounded(t *testing.T) {
	c := fakeClient(t, func(*http.Request) (*http.Response, error) {
		res := answer(http.StatusOK, "")
		res.Body = io.NopCloser(zeros{})
		return res, nil
	})
	if _, err := c.Summary(t.Context()); err == nil || !strings.Contains(err.Error(), "over 64 MiB") {
		t.Errorf("%v", err)
	}
}

func TestURLs(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:8080", "ftp://x", "http://", "http://x?y=1", "http://user:secret@x", "http://x#y", ":"} {
		if _, err := New(Config{URL: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, good := range []string{"http://x", "https://x/", "http://x/below/", "http://[::1]:8080"} {
		if _, err := New(Config{URL: good}); err != nil {
			t.Error(err)
		}
	}
	if _, err := New(Config{URL: "http://x", Key: "two words"}); err == nil || strings.Contains(err.Error(), "two words") {
		t.Errorf("%v", err)
	}
}

func TestReadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for text, want := range map[string]string{
		"vt_abc\n": "vt_abc", "  vt_abc \r\n": "vt_abc", "": "", "\n": "", "two words": "", "one\ntwo": "", "\x00\x01": "", "schlüssel": "", strings.Repeat("x", 5000): "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := ReadKey(path); key != want || (err == nil) != (want != "") || err != nil && strings.Contains(err.Error(), "two words") {
			t.Errorf("%.20q: %q, %v", text, key, err)
		}
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir(), os.DevNull} {
		if _, err := ReadKey(path); err == nil {
			t.Errorf("%s is taken", path)
		}
	}
}

// No answer makes the client panic or read without an end.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"data":[{"id":"16Uiu2","validators":3,"flags":[]}],"meta":{"next":"x","total":1}}`))
	f.Add(400, []byte(`{"detail":"no","allowed":["a"]}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		requests := 0
		c := fakeClient(t, func(*http.Request) (*http.Response, error) {
			if requests++; requests > 50 {
				t.Fatal("it asks without an end")
			}
			res := answer(status, "")
			res.Body = io.NopCloser(bytes.NewReader(body))
			return res, nil
		})
		c.attempts = 1
		for range c.Nodes(t.Context(), NodeQuery{}) {
		}
		c.Node(t.Context(), "x")
	})
}
