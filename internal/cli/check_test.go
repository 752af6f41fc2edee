package cli

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/app"
)

// What works with a restriction is a warning with the way out, and no failure.
func TestCheckWarns(t *testing.T) {
	if l, err := net.Listen("tcp", app.DefaultHTTP); err == nil { // else somebody else has it
		defer l.Close()
	}
	var out, log bytes.Buffer
	err := Main(t.Context(), []string{"valtrack", "check", "--data-dir", t.TempDir(), "--port", "0", "--quic-port", "0", "--listen", "127.0.0.1"}, &out, &log)
	if err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	want := "\nWARN    http      " + app.DefaultHTTP + " is in use: the API and the dashboard would not be served; give --http ADDR for another address, or --http '' for none\n"
	if !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, &out)
	}
	out.Reset()
	if err := Main(t.Context(), []string{"valtrack", "check", "--json", "--data-dir", t.TempDir(), "--port", "0", "--quic-port", "0", "--listen", "127.0.0.1"}, &out, &log); err != nil || !strings.Contains(out.String(), `"warning": true`) {
		t.Errorf("%v\n%s", err, &out)
	}
}
