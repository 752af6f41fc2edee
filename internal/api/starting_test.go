package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// While a service starts its address answers: that it lives, and that it is not ready. Then
// Run serves at the same address.
func TestStarting(t *testing.T) {
	c := newTestCrawl(t)
	c.crawl(0, 10, time.Now().Add(-time.Hour))
	s := boundServer(t, c, Config{})
	url := "http://" + s.Addr()
	starting, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Starting(starting, func() error { return errors.New("migrating: a secret path") }) }()
	if resp, body := get(t, url+"/livez", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("/livez: %d %s", resp.StatusCode, body)
	}
	for _, path := range []string{"/readyz", "/api/v1/nodes", "/", "/nowhere"} {
		resp, body := get(t, url+path, nil)
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" ||
			resp.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(string(body), "secret") {
			t.Errorf("%s: %d %v %s", path, resp.StatusCode, resp.Header, body)
		}
		if _, body := get(t, url+path, http.Header{"X-Api-Key": {s.key}}); !strings.Contains(string(body), "migrating") {
			t.Errorf("%s with a key: %s", path, body)
		}
	}
	s.limits = newLimits(0.001) // one request
	for i, want := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusTooManyRequests} {
		resp, body := get(t, url+"/readyz", http.Header{"X-Api-Key": {"a guess"}})
		if resp.StatusCode != want {
			t.Errorf("guess %d of a key: %d %s", i, resp.StatusCode, body)
		}
	}
	if resp, body := get(t, url+"/readyz", http.Header{"X-Api-Key": {s.key}}); resp.StatusCode != http.StatusTooManyRequests || strings.Contains(string(body), "migrating") {
		t.Errorf("a key after too many guesses: %d %s", resp.StatusCode, body)
	}
	if resp, _ := get(t, url+"/livez", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("/livez is limited: %d", resp.StatusCode)
	}
	s.limits = newLimits(0)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	running, end := context.WithCancel(t.Context())
	go func() { done <- s.Run(running, c.sources()) }()
	if resp, body := get(t, url+"/readyz", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %d %s", resp.StatusCode, body)
	}
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
