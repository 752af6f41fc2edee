package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// clusterSize is how many nats-servers replicate the stream, when there is more than
// one.
const clusterSize = 3

// streamSize fits on the disks of these worlds, bytes.
const streamSize = 1 << 27

// server is one nats-server's place.
type server struct {
	role         role
	port, routes int
	store        string
}

// freePorts gives ports that nobody has just now.
func freePorts(ctx context.Context, n int) (ports []int, err error) {
	var lc net.ListenConfig
	for range n {
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(natsHost, "0"))
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func newServers(ctx context.Context, dir string, n int) ([]server, error) {
	ports, err := freePorts(ctx, 2*n)
	if err != nil {
		return nil, err
	}
	servers := []server{{role: broker, port: ports[0], routes: ports[1], store: filepath.Join(dir, "store")}}
	for i := 1; i < n; i++ {
		name := fmt.Sprintf("%s-%d", broker, i+1)
		servers = append(servers, server{role: role(name), port: ports[2*i], routes: ports[2*i+1], store: filepath.Join(dir, name)})
	}
	return servers, nil
}

// arguments are nats-server's for the i-th place.
func (w *world) arguments(i int) []string {
	s := w.servers[i]
	args := []string{"-js", "-a", natsHost, "-p", strconv.Itoa(s.port), "-sd", s.store, "-n", string(s.role)}
	if len(w.servers) == 1 {
		return args
	}
	var routes []string
	for j, o := range w.servers {
		if j != i {
			routes = append(routes, routeOf(o))
		}
	}
	return append(args, "-cluster_name", "crash", "-cluster", routeOf(s), "-routes", strings.Join(routes, ","))
}

func routeOf(s server) string {
	u := url.URL{Scheme: "nats", Host: net.JoinHostPort(natsHost, strconv.Itoa(s.routes))}
	return u.String()
}

// makeStream makes the stream on all servers, as an operator does before anything else.
func (w *world) makeStream(ctx context.Context) error {
	for {
		err := w.withJetStream(func(js jetstream.JetStream) error {
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{
				Name: event.Stream, Subjects: event.Subjects(), Retention: jetstream.InterestPolicy, Storage: jetstream.FileStorage,
				Discard: jetstream.DiscardNew, MaxBytes: streamSize, AllowAtomicPublish: true, Replicas: len(w.servers), Duplicates: w.window,
			})
			return err
		})
		if err == nil {
			return nil
		}
		if waitErr := pause(ctx, drainPoll); waitErr != nil {
			return fmt.Errorf("a stream with %d replicas: %w", len(w.servers), err)
		}
	}
}

// leader waits for the stream to have one.
func (w *world) leader(ctx context.Context) (role, error) {
	for {
		var name string
		err := w.withJetStream(func(js jetstream.JetStream) error {
			s, err := js.Stream(ctx, event.Stream)
			if err == nil && s.CachedInfo().Cluster != nil {
				name = s.CachedInfo().Cluster.Leader
			}
			return err
		})
		if err == nil && w.procs[role(name)] != nil {
			return role(name), nil
		}
		if waitErr := pause(ctx, drainPoll); waitErr != nil {
			return "", fmt.Errorf("no leader: %w", waitErr)
		}
	}
}
