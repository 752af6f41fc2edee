package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chainbound/valtrack/internal/diskio"
)

func TestBadURLIsAnErrorAtOnce(t *testing.T) {
	for _, url := range []string{"http://localhost:4222", "nats://", "nats://host:0", "nats://host:70000", "nats://ho st", "nats://%zz", "nats://a:1,ftp://b", "nats://u:secret@host:x"} {
		_, err := Connect(t.Context(), Options{URL: url, Log: discardLog()})
		if !errors.Is(err, ErrBadURL) {
			t.Errorf("%q: error %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error tells the password: %v", url, err)
		}
	}
}

func TestConnectKeepsTryingAndSaysSo(t *testing.T) {
	server := startServer(t)
	port := portOf(t, server)
	server.Close()
	log := newRecorder()
	connected := make(chan *Conn, 1)
	go func() {
		c, err := Connect(t.Context(), Options{URL: fmt.Sprintf("nats://u:secret@127.0.0.1:%d", port), Log: slog.New(log)})
		if err != nil {
			t.Error(err)
		}
		connected <- c
	}()
	until(t, "a line about the server", func() bool {
		return log.has(fmt.Sprintf("cannot reach NATS, retrying url=nats://u:xxxxx@127.0.0.1:%d", port))
	})
	startServer(t, onPort(port))
	if c := <-connected; c != nil {
		c.Close()
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, Options{URL: "nats://127.0.0.1:1", Log: discardLog()}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestEmbeddedStoreIsLocked(t *testing.T) {
	dir := t.TempDir()
	e, err := StartEmbedded(dir, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	var locked *diskio.LockedError
	if _, err := StartEmbedded(dir, discardLog()); !errors.As(err, &locked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second server: %v", err)
	}
	e.Close()
	e.Close()
	again, err := StartEmbedded(dir, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestEmbeddedNamesATakenPort(t *testing.T) {
	port := portOf(t, startServer(t))
	if _, err := startEmbedded(t.TempDir(), discardLog(), onPort(port)); err == nil || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Errorf("error %v does not name port %d", err, port)
	}
	if _, err := StartEmbedded("/dev/null/store", discardLog()); err == nil || !strings.Contains(err.Error(), "/dev/null/store") {
		t.Errorf("error %v does not name the directory", err)
	}
}

func TestInProcessConnection(t *testing.T) {
	e := startServer(t)
	c, err := Connect(t.Context(), Options{InProcess: e, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ensureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Who connects over the network, where it listens, sees the same server.
	nc, err := nats.Connect(e.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
}
