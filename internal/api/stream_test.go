package api

import (
	"bufio"
	"context"
	"net/http"
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
