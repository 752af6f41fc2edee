package bus

import (
	"os"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/event"
)

// Three nats-server processes, a stream with three replicas, and the leader killed
// and started again under load. It takes half a minute: VALTRACK_CLUSTER=1 go test
// ./internal/bus -run Cluster.
func TestClusterLeaderKilled(t *testing.T) {
	if os.Getenv("VALTRACK_CLUSTER") == "" {
		t.Skip("set VALTRACK_CLUSTER=1 to run a cluster")
	}
	const nodes = 3
	var dirs, urls, routes []string
	var ports []int
	for range nodes {
		dirs = append(dirs, t.TempDir())
		ports = append(ports, freePort(t))
		urls = append(urls, serverURL(ports[len(ports)-1]))
		routes = append(routes, strconv.Itoa(freePort(t)))
	}
	processes := map[string]*process{}
	start := func(i int) {
		mine := append([]string{routes[i]}, append(routes[:i:i], routes[i+1:]...)...)
		processes["node-"+routes[i]] = startServerProcess(t, dirs[i], ports[i], mine...)
	}
	for i := range nodes {
		start(i)
	}
	all := urls[0] + "," + urls[1] + "," + urls[2]
	c := connect(t, all, discardLog())
	cfg := jetstream.StreamConfig{
		Name: event.Stream, Subjects: event.Subjects(), Retention: jetstream.InterestPolicy, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, MaxBytes: 1 << 30, AllowAtomicPublish: true, Replicas: nodes,
	}
	until(t, "the cluster", func() bool {
		_, err := c.js.CreateStream(t.Context(), cfg)
		return err == nil
	})
	got := collect(t, subscribeSoon(t, c))
	p, spool := spoolPublisher(t, connectLater(t, all, discardLog()), t.TempDir(), 1, discardLog())
	stop, n := publishSteadily(t, p, 3000)
	for range 3 {
		before := p.Stats().Published
		until(t, "some events", func() bool { return p.Stats().Published > before+2000 })
		var leader string
		until(t, "a leader", func() bool {
			s, err := c.js.Stream(t.Context(), event.Stream)
			if err == nil && s.CachedInfo().Cluster != nil {
				leader = s.CachedInfo().Cluster.Leader
			}
			return processes[leader] != nil
		})
		processes[leader].kill()
		before = p.Stats().Published
		until(t, "events without it", func() bool { return p.Stats().Published > before+2000 })
		for i := range nodes {
			if leader == "node-"+routes[i] {
				start(i)
			}
		}
	}
	stop()
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	got.checkAll(t, keyRange(1, 1, *n))
	t.Logf("%d events, %+v", *n, p.Stats())
	closePublisher(t, p)
}
