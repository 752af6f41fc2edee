package app

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/api"
	"github.com/chainbound/valtrack/internal/telemetry"
)

// From the moment at which the API's address is bound it answers, as while parts of an
// earlier version are migrated, and close releases it.
func TestAPIAnswersWhileTheServiceStarts(t *testing.T) {
	svc, err := NewService(ServiceConfig{
		Stderr:      telemetry.NewLogWriter(io.Discard),
		NewLogger:   func(w io.Writer) (*slog.Logger, error) { return slog.New(slog.NewTextHandler(w, nil)), nil },
		StatusEvery: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	svc.ready.setReason("migrating")
	h, err := listenHTTP(HTTPConfig{Config: api.Config{Address: "127.0.0.1:0"}}, svc)
	if err != nil {
		t.Fatal(err)
	}
	addr := h.server.Addr()
	if h.url() != "http://"+addr || h.missing(HTTPConfig{Config: api.Config{Address: addr}}) != nil {
		t.Errorf("served at %s, missing %v", h.url(), h.missing(HTTPConfig{Config: api.Config{Address: addr}}))
	}
	// A default address that is in use stops nothing, but the status line says so.
	taken := HTTPConfig{Config: api.Config{Address: addr}, Default: true}
	none, err := listenHTTP(taken, svc)
	if err != nil || none != nil {
		t.Fatal(none, err)
	}
	if got := statusLine(0, nil, byImportance(none.missing(taken))); got != "0s  api not served" || none.url() != notServed {
		t.Errorf("status line %q, url %q", got, none.url())
	}
	if none.missing(HTTPConfig{}) != nil {
		t.Error("an API that nobody wants is missing")
	}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/api/v1/summary": 503} {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	h.close()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
