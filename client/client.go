package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswer bounds a JSON answer in bytes, after decompression; a page of 1000 nodes has
	// about one megabyte.
	maxAnswer = 64 << 20
	// maxProblem bounds what is read of an error.
	maxProblem = 64 << 10
	// answerTimeout bounds one attempt to get a JSON answer, headerTimeout the wait for the
	// beginning of a download.
	answerTimeout = time.Minute
	headerTimeout = 30 * time.Second

	defaultAttempts = 5
	defaultMaxWait  = time.Minute
	firstBackoff    = 250 * time.Millisecond
	maxBackoff      = 10 * time.Second
)

// Config says where the API is and how to ask it.
type Config struct {
	// URL is the API's address, such as https://valtrack.example.org. It may have a path,
	// below which a proxy serves the API.
	URL string
	// Key is the API key; empty for the public view.
	Key string
	// HTTP sends the requests; nil for a client of the package's own. Its redirects are not
	// followed, since that would send the key elsewhere.
	HTTP *http.Client
	// Attempts is how often a request is sent at most, when the server cannot be reached, is
	// busy or limits the rate; 0 is 5.
	Attempts int
	// MaxWait bounds the wait between two attempts: a server that asks for a longer one makes
	// the request fail. 0 is a minute.
	MaxWait time.Duration
}

// Client asks one API. It may be used by several goroutines.
type Client struct {
	base     *url.URL
	key      string
	http     *http.Client
	attempts int
	maxWait  time.Duration
}

// New checks the configuration. It sends no request.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, fmt.Errorf("URL %q: want the address of an API, such as http://127.0.0.1:8080", cfg.URL)
	}
	if cfg.Key != "" {
		if err := checkKey(cfg.Key); err != nil {
			return nil, err
		}
	}
	c := &Client{base: base, key: cfg.Key, attempts: cfg.Attempts, maxWait: cfg.MaxWait}
	if c.attempts <= 0 {
		c.attempts = defaultAttempts
	}
	if c.maxWait <= 0 {
		c.maxWait = defaultMaxWait
	}
	sender := http.Client{}
	if cfg.HTTP != nil {
		sender = *cfg.HTTP
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone()
		t.ResponseHeaderTimeout = headerTimeout
		sender.Transport = t
	}
	sender.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &sender
	return c, nil
}

// URL is the API's address.
func (c *Client) URL() string { return c.base.String() }

// Answer is the data of an answer, and what they cover.
type Answer[T any] struct {
	Data T    `json:"data"`
	Meta Meta `json:"meta"`
}

// get asks for JSON.
func get[T any](ctx context.Context, c *Client, query url.Values, path ...string) (out Answer[T], err error) {
	err = c.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		res, err := c.send(ctx, query, path)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "application/json" {
			return &permanentError{fmt.Errorf("%s returns %q instead of JSON: is this the address of a Valtrack API?", res.Request.URL.Redacted(), kind)}
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
		switch {
		case err != nil:
			return err
		case len(body) > maxAnswer:
			return &permanentError{fmt.Errorf("the answer of %s is over %d MiB", res.Request.URL.Redacted(), maxAnswer>>20)}
		}
		out = Answer[T]{}
		if err := json.Unmarshal(body, &out); err != nil {
			return &permanentError{fmt.Errorf("the answer of %s: %w", res.Request.URL.Redacted(), err)}
		}
		return nil
	})
	return out, err
}

// download asks for a file. The caller closes the body, which may end early with an error:
// then the file is not whole.
func (c *Client) download(ctx context.Context, query url.Values, path ...string) (body io.ReadCloser, err error) {
	err = c.retry(ctx, func(ctx context.Context) error {
		res, err := c.send(ctx, query, path) //nolint:bodyclose // the caller closes it
		if err == nil {
			body = res.Body
		}
		return err
	})
	return body, err
}

// send sends a request once. Answers other than 200 are errors. The path's parts are escaped.
func (c *Client) send(ctx context.Context, query url.Values, path []string) (*http.Response, error) {
	parts := make([]string, len(path))
	for i, p := range path {
		if parts[i] = url.PathEscape(p); p == "." || p == ".." || p == "" {
			return nil, &permanentError{fmt.Errorf("%q cannot be asked for", p)}
		}
	}
	at, err := url.Parse(strings.TrimSuffix(c.base.String(), "/") + "/api/v1/" + strings.Join(parts, "/"))
	if err != nil {
		return nil, &permanentError{err}
	}
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, &permanentError{err}
	}
	if c.key != "" {
		req.Header.Set("X-API-Key", c.key)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	return nil, readError(res)
}

// permanentError is one that another attempt would not mend.
type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// retry calls f until it succeeds, fails for good, or has failed often enough.
func (c *Client) retry(ctx context.Context, f func(context.Context) error) error {
	backoff := firstBackoff
	for attempt := 1; ; attempt++ {
		err := f(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if permanent := (*permanentError)(nil); errors.As(err, &permanent) {
			return permanent.error
		}
		wait := time.Duration(rand.Int64N(int64(backoff))) + backoff/2
		if answered := (*Error)(nil); errors.As(err, &answered) {
			if !answered.temporary() {
				return err
			}
			wait = max(wait, answered.RetryAfter)
		}
		if attempt == c.attempts || wait > c.maxWait {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		case <-timer.C:
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// Error is an answer of the API other than success (RFC 9457).
type Error struct {
	URL    string `json:"-"`
	Status int    `json:"-"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	// Parameter is the one that is wrong, Allowed what it may be; empty where they are not
	// what is wrong.
	Parameter string   `json:"parameter"`
	Allowed   []string `json:"allowed"`
	// RetryAfter is the wait that the server asks for; 0 for none.
	RetryAfter time.Duration `json:"-"`
}

func (e *Error) Error() string {
	text := e.Detail
	if text == "" {
		text = e.Title
	}
	return strings.TrimSuffix(fmt.Sprintf("%s: %d %s", e.URL, e.Status, text), " ")
}

func (e *Error) temporary() bool {
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// readError is the error of an answer. Another server than Valtrack's, such as a proxy,
// gives no details.
func readError(res *http.Response) *Error {
	e := &Error{Title: http.StatusText(res.StatusCode)}
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind == "application/problem+json" {
		body, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
		if err == nil && json.Unmarshal(body, e) != nil {
			e = &Error{Title: http.StatusText(res.StatusCode)}
		}
	} else if at := res.Header.Get("Location"); at != "" {
		e.Detail = fmt.Sprintf("redirects to %q, give that address", at)
	}
	e.URL, e.Status, e.RetryAfter = res.Request.URL.Redacted(), res.StatusCode, retryAfter(res.Header.Get("Retry-After"))
	return e
}

// retryAfter reads the header, which has seconds or a date; 0 for none.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
