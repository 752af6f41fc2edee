package bus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/chainbound/valtrack/internal/spool"
)

// This test binary is also the processes that the tests kill: a nats-server, alone
// or one of a cluster, and a sentry that publishes at a given rate.

// process is such a process.
type process struct {
	cmd    *exec.Cmd
	stdout io.Reader
	stderr string // file
}

func startProcess(t *testing.T, kind string, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0]), stderr: filepath.Join(t.TempDir(), kind+".err")}
	p.cmd.Env = append(os.Environ(), append(env, "BUS_TEST_PROCESS="+kind)...)
	stderr, err := os.Create(p.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	p.cmd.Stderr = stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	return p
}

// kill is SIGKILL. Doing it again does nothing.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// terminate is SIGTERM, and waits for the end.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		text, _ := os.ReadFile(p.stderr)
		t.Fatalf("after SIGTERM: %v\n%s", err, text)
	}
}

// Ports of servers that are started again on the same one: below those that the system gives
// to whoever asks for any, as other tests do meanwhile.
const firstPort, ports = 20_000, 12_000

var portsTried atomic.Int64

// freePort is a port that no other call has returned.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port := firstPort + (os.Getpid()*101+int(portsTried.Add(1)))%ports
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

func serverURL(port int) string { return fmt.Sprintf("nats://127.0.0.1:%d", port) }

// startServerProcess starts a nats-server and waits until it takes connections.
// routes is for one of a cluster: ports of the cluster's members, its own first.
func startServerProcess(t *testing.T, dir string, port int, routes ...string) *process {
	t.Helper()
	p := startProcess(t, "server", "DIR="+dir, "PORT="+strconv.Itoa(port), "ROUTES="+strings.Join(routes, " "))
	line, err := bufio.NewReader(p.stdout).ReadString('\n')
	if err != nil {
		text, _ := os.ReadFile(p.stderr)
		t.Fatalf("nats-server said %q: %v\n%s", line, err, text)
	}
	return p
}

func serveUntilSignal() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	port, _ := strconv.Atoi(os.Getenv("PORT"))
	opts := []func(*server.Options){onPort(port)}
	if routes := strings.Fields(os.Getenv("ROUTES")); len(routes) > 0 {
		opts = append(opts, func(o *server.Options) {
			o.ServerName = "node-" + routes[0]
			o.Cluster.Name, o.Cluster.Host = "test", embeddedHost
			o.Cluster.Port, _ = strconv.Atoi(routes[0])
			for _, r := range routes[1:] {
				o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: "127.0.0.1:" + r})
			}
		})
	}
	e, err := startEmbedded(os.Getenv("DIR"), slog.New(slog.NewTextHandler(os.Stderr, nil)), opts...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	<-ctx.Done()
	e.Close()
	os.Exit(0)
}

// sentryProcess publishes through a spool until it is killed or stopped.
type sentryProcess struct {
	*process
	keys chan []string // at its end, the keys of the events that Publish accepted
	n    atomic.Int64  // of them so far
}

func startSentryProcess(t *testing.T, dir, url string, boot, perSecond int) *sentryProcess {
	t.Helper()
	s := &sentryProcess{keys: make(chan []string, 1)}
	s.process = startProcess(t, "sentry", "DIR="+dir, "NATS="+url, "BOOT="+strconv.Itoa(boot), "RATE="+strconv.Itoa(perSecond))
	go func() {
		var keys []string
		for lines := bufio.NewScanner(s.stdout); lines.Scan(); {
			keys = append(keys, lines.Text())
			s.n.Add(1)
		}
		s.keys <- keys
	}()
	return s
}

// published returns the keys that it has printed; the process must be ending.
func (s *sentryProcess) published(t *testing.T) []string {
	t.Helper()
	select {
	case keys := <-s.keys:
		return keys
	case <-time.After(patience):
		t.Fatal("the sentry's process does not end")
		return nil
	}
}

func publishUntilSignal() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	exit := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	boot, _ := strconv.ParseUint(os.Getenv("BOOT"), 10, 64)
	rate, _ := strconv.Atoi(os.Getenv("RATE"))
	conn, err := Connect(ctx, Options{URL: os.Getenv("NATS"), InBackground: true, Log: log})
	exit(err)
	s, err := spool.Open(spool.Config{Dir: os.Getenv("DIR"), Sentry: "s", Boot: boot, Log: log})
	exit(err)
	p, err := NewPublisher(conn, PublisherConfig{Queue: s, Added: s.Added(), Mark: s.Mark()})
	exit(err)
	for i, start := 1, time.Now(); ctx.Err() == nil; i++ {
		exit(s.Publish(ctx, discovered(i)))
		fmt.Printf("s-%d-%d\n", boot, i) // unbuffered: a key is printed right after its Publish
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
	}
	bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	exit(p.Close(bounded))
	exit(conn.Close())
	os.Exit(0)
}
