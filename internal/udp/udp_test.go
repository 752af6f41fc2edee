package udp

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestListen(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	conn, err := Listen("udp4", at, 4096, log)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if out.Len() > 0 {
		t.Errorf("logged %q for a buffer that every system grants", &out)
	}
	greedy, err := Listen("udp4", at, 1<<30, log)
	if err != nil {
		t.Fatal(err)
	}
	defer greedy.Close()
	if n := strings.Count(out.String(), "the UDP receive buffer is small"); runtime.GOOS == "linux" && n != 1 {
		t.Errorf("%d warnings for a buffer of 1 GiB: %s", n, &out)
	}
	if taken, err := Listen("udp4", conn.LocalAddr().(*net.UDPAddr), 4096, log); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("bound a taken port: %v, %v", taken, err)
	}
}
