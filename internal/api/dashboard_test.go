package api

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
)

// TestEventsAreFlushed: the first event arrives whole at once, whatever encodings the client
// accepts, not when a buffer is full or the next event comes.
func TestEventsAreFlushed(t *testing.T) {
	_, addr := listening(t, Config{})
	for _, encoding := range []string{"identity", "gzip", "gzip, deflate, br, zstd"} {
		ctx, cancel := context.WithTimeout(t.Context(), pingEvery/2)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", encoding)
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(resp.Body)
		for line := ""; line != "\n"; {
			if line, err = lines.ReadString('\n'); err != nil {
				t.Fatalf("with %q: %v", encoding, err)
			}
		}
		resp.Body.Close()
	}
}

// TestDashboard: the page is at /, under a policy of its own, compressed once.
func TestDashboard(t *testing.T) {
	_, addr := listening(t, Config{})
	resp, body := get(t, "http://"+addr+"/", http.Header{"Accept-Encoding": {"identity"}})
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "<title>Valtrack</title>") || !strings.HasPrefix(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("/: %d %v %s", resp.StatusCode, resp.Header, body)
	}
	resp, body = get(t, "http://"+addr+"/", http.Header{"Accept-Encoding": {"gzip, zstd"}})
	if resp.Header.Get("Content-Encoding") != "gzip" || len(body) < 2 || body[0] != 0x1f || body[1] != 0x8b {
		t.Errorf("/ compressed: %v, %d bytes", resp.Header, len(body))
	}
}
