package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

const (
	apiPeers   = 100_000
	apiRate    = 2000 // events per second
	apiSpan    = 30 * time.Second
	apiStreams = 200
	apiPause   = 5 * time.Millisecond // between two requests of one client
	// genesisMS is mainnet's, Unix milliseconds.
	genesisMS = 1606824023000
)

// apiPaths are asked for all the time, each by a client of its own.
var apiPaths = []string{
	"/api/v1/summary", "/api/v1/nodes?limit=100&client=lighthouse&sort=-validators", "/api/v1/nodes?limit=100&q=16Uiu2HAm0000", "/api/v1/nodes?format=ndjson",
}

// apiClient keeps a connection per client of apiPaths.
var apiClient = &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}}

// besideAPI measures how many events the real consumer takes in, of those that are published at a
// rate, alone and beside requests to its API: three clients that ask for pages, one that exports all
// nodes, and event streams.
func besideAPI(ctx context.Context, o options, w io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "valtrack-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := startBroker(ctx, o, filepath.Join(dir, "broker"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	var addresses [2]string
	for i := range addresses {
		if addresses[i], err = freeAddress(ctx); err != nil {
			return err
		}
	}
	r := apiRun{metrics: addresses[0], url: "http://" + addresses[1], data: newPeerEvents(apiPeers, false, anywhere())}
	r.process, err = launch(ctx, o.verbose, o.valtrack, "consumer", "--nats", b.url, "--data-dir", filepath.Join(dir, "data"), "--metrics", r.metrics,
		"--http", addresses[1], "--http-rate", "0", "--http-proxy", "127.0.0.1/32", "--segment-age", "5s")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.process.stop()) }()
	if r.publisher, err = bus.NewDirectPublisher(ctx, b.conn); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.publisher.Close(ctx)) }()
	return r.run(ctx, w)
}

// apiRun is a consumer that events are published to.
type apiRun struct {
	process      *process
	metrics, url string
	data         *peerEvents
	publisher    *bus.DirectPublisher
	published    int
}

func (r *apiRun) run(ctx context.Context, w io.Writer) error {
	if err := r.fill(ctx); err != nil {
		return err
	}
	alone, err := r.feed(ctx)
	if err != nil {
		return err
	}
	loading, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	took := make([][]time.Duration, len(apiPaths))
	for i, path := range apiPaths {
		clients.Go(func() { took[i] = r.ask(loading, path) })
	}
	for i := range apiStreams {
		clients.Go(func() { r.listen(loading, fmt.Sprintf("192.0.%d.%d", i, i)) })
	}
	beside, err := r.feed(ctx)
	stop()
	clients.Wait()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d nodes, %d events/s for %s. All %d events were taken in at the end.\n\n", apiPeers, apiRate, apiSpan, r.published)
	fmt.Fprint(w, "| consumer | events/s published | events/s taken in | the last after | cores |\n|---|---|---|---|---|\n")
	for _, x := range []struct {
		name string
		fed
	}{{"alone", alone}, {"beside requests", beside}} {
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %s | %.2f |\n", x.name, x.published, x.taken, x.late.Round(10*time.Millisecond), x.cores)
	}
	fmt.Fprintf(w, "\n%d event streams, and per client:\n\n| path | answers | median | p99 |\n|---|---|---|---|\n", apiStreams)
	for i, list := range took {
		if len(list) == 0 {
			return fmt.Errorf("%s was not answered", apiPaths[i])
		}
		fmt.Fprintf(w, "| `%s` | %d | %s | %s |\n", apiPaths[i], len(list), median(list).Round(10*time.Microsecond), percentile(list, 99).Round(10*time.Microsecond))
	}
	return nil
}

// fill publishes what makes the nodes known, and goes on at the rate until they are counted: with new
// segments they are estimated.
func (r *apiRun) fill(ctx context.Context) error {
	for range 3 * apiPeers { // a record, a handshake and the end of a visit each
		if err := r.publish(ctx); err != nil {
			return err
		}
	}
	if err := until(ctx, r.metrics, float64(r.published), ingestPoll); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ingestPatience)
	defer cancel()
	first, began := r.published, time.Now()
	for {
		if err := r.publishDue(ctx, first, time.Since(began)); err != nil {
			return err
		}
		var answer struct {
			Data struct {
				Nodes struct{ Counted int }
			}
		}
		body, err := r.get(ctx, "/api/v1/summary", "")
		if err == nil {
			err = errors.Join(json.NewDecoder(body).Decode(&answer), body.Close())
		}
		if err == nil && answer.Data.Nodes.Counted > apiPeers*9/10 { // some share an address
			return nil
		}
		if late := pause(ctx, ingestPoll); late != nil {
			return fmt.Errorf("%d of %d nodes are counted: %w", answer.Data.Nodes.Counted, apiPeers, errors.Join(err, late))
		}
	}
}

// publish publishes the next event, as of now.
func (r *apiRun) publish(ctx context.Context) error {
	e := r.data.next()
	now := time.Now().UnixMilli()
	switch e := e.(type) {
	case *event.PeerDiscovered:
		e.Timestamp = now
	case *event.MetadataReceived:
		e.Timestamp, e.Epoch = now, eth2.Epoch((now-genesisMS)/epochMS)
		e.FinalizedEpoch, e.HeadSlot = e.Epoch-2, eth2.Slot((now-genesisMS)/12_000)
	case *event.VisitEnded:
		e.Timestamp, e.Started, e.Ended = now, now-200, now
	}
	data, err := event.Encode(e)
	if err != nil {
		return err
	}
	r.published++
	return r.publisher.Publish(ctx, event.Encoded{Subject: e.Subject(), Key: "bench-1-" + strconv.Itoa(r.published), Data: data})
}

// publishDue publishes what is due after a time of publishing at the rate, since so many events.
func (r *apiRun) publishDue(ctx context.Context, first int, elapsed time.Duration) error {
	for due := int(elapsed.Seconds() * apiRate); r.published-first < due; {
		if err := r.publish(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fed is what became of events that were published at a rate. Rates are per second.
type fed struct {
	published, taken float64
	late             time.Duration // from the last one's publication until all were taken in
	cores            float64
}

// feed publishes for a while.
func (r *apiRun) feed(ctx context.Context) (out fed, err error) {
	if err := until(ctx, r.metrics, float64(r.published), restartPoll); err != nil {
		return out, err
	}
	first := r.published
	used, err := r.process.cpu()
	if err != nil {
		return out, err
	}
	began := time.Now()
	for elapsed := time.Duration(0); elapsed < apiSpan; elapsed = time.Since(began) {
		if err := r.publishDue(ctx, first, elapsed); err != nil {
			return out, err
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return out, err
		}
	}
	now, err := r.process.cpu()
	if err != nil {
		return out, err
	}
	ended := time.Now()
	span := ended.Sub(began).Seconds()
	out.published, out.cores = float64(r.published-first)/span, (now-used).Seconds()/span
	err = until(ctx, r.metrics, float64(r.published), restartPoll)
	out.late = time.Since(ended)
	out.taken = float64(r.published-first) / time.Since(began).Seconds()
	return out, err
}

// get asks for a path, as a client of a proxy if it is named. The caller closes the body.
func (r *apiRun) get(ctx context.Context, path, client string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+path, nil)
	if err != nil {
		return nil, err
	}
	if client != "" {
		request.Header.Set("X-Forwarded-For", client)
	}
	response, err := apiClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", path, response.Status), response.Body.Close())
	}
	return response.Body, nil
}

// ask asks for a path until ctx ends, and gives how long each answer took.
func (r *apiRun) ask(ctx context.Context, path string) (took []time.Duration) {
	for pause(ctx, apiPause) == nil {
		began := time.Now()
		body, err := r.get(ctx, path, "")
		if err != nil {
			continue
		}
		if _, err = io.Copy(io.Discard, body); errors.Join(err, body.Close()) == nil {
			took = append(took, time.Since(began))
		}
	}
	return took
}

// listen reads an event stream until ctx ends.
func (r *apiRun) listen(ctx context.Context, client string) {
	body, err := r.get(ctx, "/api/v1/events", client)
	if err != nil {
		return
	}
	defer body.Close()
	_, _ = io.Copy(io.Discard, bufio.NewReader(body))
}
