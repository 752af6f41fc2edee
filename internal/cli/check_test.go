package cli

import (
	"bytes"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/eth2/network"
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
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil { // as mkdir makes it
		t.Fatal(err)
	}
	mainnet, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	out.Reset()
	err = Main(t.Context(), []string{"valtrack", "check", "--data-dir", open, "--network-dir", "../eth2/network/testdata/plataberget", "--bootnode", mainnet.Bootnodes[0], "--port", "0", "--quic-port", "0", "--listen", "127.0.0.1", "--http", ""}, &out, &log)
	if err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		"\nWARN    consumer  segments of 250000 rows or 1m0s; no estimates, because the number of active validators of ", "is unknown: give --active-validators or --beacon-api\n",
		"\nWARN    data-dir  " + open + " is writable and not in use, and other users may open the data directory",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	out.Reset()
	if err := Main(t.Context(), []string{"valtrack", "check", "--json", "--data-dir", t.TempDir(), "--port", "0", "--quic-port", "0", "--listen", "127.0.0.1"}, &out, &log); err != nil || !strings.Contains(out.String(), `"warning": true`) {
		t.Errorf("%v\n%s", err, &out)
	}
}
