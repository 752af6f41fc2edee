package bus

import (
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A sentry in a region publishes to the region's leaf node, which has no JetStream, and the
// stream is in the domain of the hub. While the leaf is cut off, events wait in the spool.
func TestLeafNode(t *testing.T) {
	leafPort, hubPort := freePort(t), freePort(t)
	startHub := func(dir string) *Embedded {
		e, err := startEmbedded(dir, discardLog(), onPort(hubPort), func(o *server.Options) {
			o.JetStreamDomain, o.LeafNode.Host, o.LeafNode.Port = "hub", embeddedHost, leafPort
		})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	dir := t.TempDir()
	hub := startHub(dir)
	t.Cleanup(func() { hub.Close() })
	leaf, err := server.NewServer(&server.Options{ServerName: "leaf", Host: embeddedHost, Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, LeafNode: server.LeafNodeOpts{
		ReconnectInterval: 100 * time.Millisecond,
		Remotes:           []*server.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: "nats-leaf", Host: embeddedHost + ":" + strconv.Itoa(leafPort)}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	leaf.Start()
	t.Cleanup(leaf.Shutdown)
	if !leaf.ReadyForConnections(patience) {
		t.Fatal("the leaf does not start")
	}

	got := collect(t, subscribeSoon(t, connect(t, hub.URL(), discardLog())))
	c, err := Connect(t.Context(), Options{URL: leaf.ClientURL(), Access: Access{Domain: "hub"}, Name: "sentry", Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p, spool := spoolPublisher(t, c, t.TempDir(), 1, discardLog())
	stop, n := publishSteadily(t, p, 300)
	until(t, "events through the leaf", func() bool { return p.Stats().Published > 100 })
	hub.Close()
	until(t, "events in the spool", func() bool { return spool.Stats().Events > 100 })
	hub = startHub(dir)
	until(t, "events after the cut", func() bool { return got.distinct() > 400 })
	stop()
	until(t, "every acknowledgement", func() bool { return spool.Stats().Events == 0 })
	got.checkAll(t, keyRange(1, 1, *n))
	closePublisher(t, p)
}
