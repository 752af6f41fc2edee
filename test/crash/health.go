package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/event"
)

const (
	// askPatience bounds a request; a process that is frozen does not answer.
	askPatience = 2 * time.Second
	// healthPoll is how often processes and the broker are asked.
	healthPoll = 250 * time.Millisecond
	// underWay is for how long a consumer may store what it had received before the fault.
	underWay = 2 * time.Second
	// falseZero is for how long lag may be 0 while messages wait: the program asks the
	// server every 2 s.
	falseZero = 6 * time.Second
)

// Metrics of the consumer.
const (
	metricLag     = "valtrack_consumer_lag"
	metricStored  = "valtrack_consumer_events_stored_total"
	metricCovered = "valtrack_events_covered"
	metricMissing = "valtrack_events_missing"
)

// address is where a role serves /readyz and /metrics.
func (w *world) address(r role) string {
	return net.JoinHostPort(natsHost, strconv.Itoa(w.ports[r]))
}

func (w *world) get(ctx context.Context, r role, path string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.address(r)+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(text)), err
}

// ready asks /readyz: why is empty when it says 200. It is an error when nobody answers.
func (w *world) ready(ctx context.Context, r role) (why string, err error) {
	code, text, err := w.get(ctx, r, "/readyz")
	if err != nil || code == http.StatusOK {
		return "", err
	}
	return fmt.Sprintf("%d %s", code, text), nil
}

// metric sums the samples of a metric of the consumer; there is an error when it has none.
func (w *world) metric(ctx context.Context, name string) (sum float64, err error) {
	_, text, err := w.get(ctx, storer, "/metrics")
	if err != nil {
		return 0, err
	}
	found := false
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "{") {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest[:len(rest)-1], ' ')+1:]), 64)
		if err != nil {
			return 0, fmt.Errorf("metric %q: %w", line, err)
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("no metric %s", name)
	}
	return sum, nil
}

// awaitRefusal waits until a role says that it is not ready, and returns what it says.
func (w *world) awaitRefusal(ctx context.Context, r role, within time.Duration) (string, error) {
	for deadline := time.Now().Add(within); ; {
		if why, err := w.ready(ctx, r); err == nil && why != "" {
			return why, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("the %s still says that it is ready after %v in which nothing could be stored\n%s", r, within, w.procs[r].tail())
		}
		if err := errors.Join(w.check(), pause(ctx, healthPoll)); err != nil {
			return "", err
		}
	}
}

// awaitRecovery waits until all that can be asked say that they are ready, and the consumer
// stores again.
func (w *world) awaitRecovery(ctx context.Context, within time.Duration) error {
	first, start := -1.0, time.Now()
	for deadline := start.Add(within); ; {
		problem := w.notReady(ctx)
		stored, err := w.metric(ctx, metricStored)
		switch {
		case err != nil:
			problem = errors.Join(problem, err)
		case time.Since(start) < underWay: // what was received before does not count
		case first < 0 || stored < first:
			first = stored
		case problem == nil && stored > first:
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wedged: %v after the fault had gone, %.0f events stored since: %w\nconsumer:\n%s\nsentry:\n%s",
				within, stored-first, problem, w.procs[storer].tail(), w.procs[sentry].tail())
		}
		if err := errors.Join(w.check(), pause(ctx, healthPoll)); err != nil {
			return err
		}
	}
}

// notReady is why a role says that it is not ready.
func (w *world) notReady(ctx context.Context) (err error) {
	for _, r := range []role{sentry, storer} {
		why, askErr := w.ready(ctx, r)
		if why != "" {
			askErr = fmt.Errorf("%s: %s", r, why)
		}
		err = errors.Join(err, askErr)
	}
	return err
}

// lagWatch compares the consumer's lag with what the server says, all the time.
type lagWatch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	wrong  []error // valid after stop
}

func (w *world) watchLag(ctx context.Context) *lagWatch {
	ctx, cancel := context.WithCancel(ctx)
	l := &lagWatch{cancel: cancel}
	l.done.Go(func() {
		var since time.Time
		for ; pause(ctx, healthPoll) == nil; since = l.look(ctx, w, since) {
		}
	})
	return l
}

// look returns since when the lag has been 0 although messages wait.
func (l *lagWatch) look(ctx context.Context, w *world, since time.Time) time.Time {
	waiting, err := w.waiting(ctx)
	if err != nil || waiting == 0 {
		return time.Time{}
	}
	if lag, err := w.metric(ctx, metricLag); err != nil || lag != 0 { // NaN is not 0
		return time.Time{}
	}
	if since.IsZero() {
		return time.Now()
	}
	if time.Since(since) < falseZero {
		return since
	}
	l.wrong = append(l.wrong, fmt.Errorf("lag was 0 for %v, while %d messages waited", falseZero, waiting))
	return time.Time{}
}

func (l *lagWatch) stop() error {
	l.cancel()
	l.done.Wait()
	return errors.Join(l.wrong...)
}

// waiting is how many messages the server has for the durable and has never delivered: all
// of the stream's when there is no durable.
func (w *world) waiting(ctx context.Context) (uint64, error) {
	lag, err := w.lag(ctx)
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return lag.Pending, err
	}
	var n uint64
	err = w.withJetStream(func(js jetstream.JetStream) error {
		s, err := js.Stream(ctx, event.Stream)
		if err == nil {
			n = s.CachedInfo().State.Msgs
		}
		return err
	})
	return n, err
}

// lag is the durable's, by the server. It makes nothing: that is the consumer's to do.
func (w *world) lag(ctx context.Context) (lag bus.Lag, err error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	return lag, w.withJetStream(func(js jetstream.JetStream) error {
		c, err := js.Consumer(ctx, event.Stream, durable)
		if err == nil {
			info := c.CachedInfo()
			lag.Pending, lag.AckPending = info.NumPending, info.NumAckPending
		}
		return err
	})
}

func (w *world) withJetStream(do func(jetstream.JetStream) error) error {
	conn, err := nats.Connect(w.url())
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	return do(js)
}
