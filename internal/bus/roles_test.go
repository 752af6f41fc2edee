package bus

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The users of contrib/nats/nats.conf may do what their role needs, on a server without a stream
// too: a consumer first, then a sentry, and a second consumer that waits.
func TestUsersOfTheExampleConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := os.ReadFile("../../contrib/nats/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"nats.conf": string(text), "passwords.conf": "SENTRY_PASSWORD: \"ps\"\nCONSUMER_PASSWORD: \"pc\"\nADMIN_PASSWORD: \"pa\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	o.Host, o.Port, o.HTTPPort, o.StoreDir, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, 0, filepath.Join(dir, "store"), true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	log := newRecorder()
	as := func(user, password string) *Conn {
		at := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Addr().(*net.TCPAddr).Port))
		return connect(t, fmt.Sprintf("nats://%s:%s@%s", user, password, at), slog.New(log))
	}
	options := SubscribeOptions{Durable: "consumer-test", AckWait: time.Minute, MaxAckPending: 1000, Exclusive: true, Name: "the first"}
	sub, err := as("consumer", "pc").Subscribe(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	got := collect(t, sub)
	p := publishDirectly(t, as("sentry", "ps"), 1)
	const n = 20
	for i := range n {
		if err := p.Publish(t.Context(), discovered(i)); err != nil {
			t.Fatal(err)
		}
	}
	closePublisher(t, p)
	got.checkAll(t, keyRange(1, 1, n))
	waiting, stop := context.WithCancel(t.Context())
	options.Name, options.StandBy = "the second", func(name string) {
		if name != "the first" {
			t.Errorf("waits for %q", name)
		}
		stop()
	}
	if _, err := as("consumer", "pc").Subscribe(waiting, options); err == nil {
		t.Error("two consumers have one durable")
	}
	if log.has("ermissions violation") {
		t.Errorf("%q", log.lines)
	}
}
