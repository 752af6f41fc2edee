package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// crawl is a run of a client until its last handshake.
type crawl struct {
	handshakes int
	wall       time.Duration // from the start of the process
	cpu        time.Duration // of the whole process
}

func (c crawl) perHandshake() time.Duration { return c.cpu / time.Duration(max(1, c.handshakes)) }

// crawlPatience bounds one run.
const crawlPatience = 90 * time.Second

// sentryRun says how the sentry is run.
type sentryRun struct {
	args []string
	// metrics is the address of its metrics; empty for any.
	metrics string
	// after, which may be nil, is called when it has every handshake, with the
	// sentry still running.
	after func(*process) error
}

// runSentry runs the real sentry until it has completed a handshake with every node that
// can be, at most for crawlPatience.
func runSentry(ctx context.Context, o options, net *simulated, dir string, r sentryRun) (crawl, error) {
	if r.metrics == "" {
		var err error
		if r.metrics, err = freeAddress(ctx); err != nil {
			return crawl{}, err
		}
	}
	args := append([]string{"sentry", "--network-dir", net.dir, "--data-dir", dir, "--listen", "127.0.0.1", "--port", "0", "--quic-port", "0",
		"--metrics", r.metrics, "--pprof"}, r.args...)
	p, err := launch(ctx, o.verbose, o.valtrack, args...)
	if err != nil {
		return crawl{}, err
	}
	profiled := make(chan error, 1)
	if o.profile != "" {
		go func() { profiled <- saveProfile(ctx, r.metrics, o.profile) }()
	} else {
		profiled <- nil
	}
	c, err := follow(ctx, p, net.reachable, dir)
	if err == nil && r.after != nil {
		err = r.after(p)
	}
	return c, errors.Join(err, <-profiled, p.stop())
}

// follow samples the sentry's CPU time and reads its metadata log, which costs it
// nothing, until want peers are in it.
func follow(ctx context.Context, p *process, want int, dir string) (crawl, error) {
	ctx, cancel := context.WithTimeout(ctx, crawlPatience)
	defer cancel()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	log := &metadataLog{path: filepath.Join(dir, "metadata_events.log"), peers: make(map[string]bool)}
	defer log.close()
	var samples []sample
	for len(log.peers) < want {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return crawl{}, fmt.Errorf("the sentry has %d of %d handshakes after %v", len(log.peers), want, crawlPatience)
		}
		cpu, err := p.cpu()
		if err != nil {
			return crawl{}, err
		}
		samples = append(samples, sample{time.Now(), cpu})
		if err := log.read(); err != nil {
			return crawl{}, err
		}
	}
	return crawl{handshakes: len(log.peers), wall: log.last.Sub(p.started), cpu: cpuAt(samples, log.last)}, nil
}

// metadataLog reads the sentry's log file of handshakes as it grows.
type metadataLog struct {
	path    string
	file    *os.File
	reader  *bufio.Reader
	partial []byte
	peers   map[string]bool
	last    time.Time // of the newest peer's event
}

func (l *metadataLog) read() error {
	if l.file == nil {
		f, err := os.Open(l.path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		l.file, l.reader = f, bufio.NewReader(f)
	}
	for {
		part, err := l.reader.ReadBytes('\n')
		l.partial = append(l.partial, part...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var event struct {
			ID        string `json:"id"`
			Timestamp int64  `json:"timestamp"` // Unix ms
		}
		if err := json.Unmarshal(l.partial, &event); err != nil {
			return fmt.Errorf("%s: %w", l.path, err)
		}
		l.partial = l.partial[:0]
		if !l.peers[event.ID] {
			l.peers[event.ID] = true
			if at := time.UnixMilli(event.Timestamp); at.After(l.last) {
				l.last = at
			}
		}
	}
}

func (l *metadataLog) close() {
	if l.file != nil {
		_ = l.file.Close()
	}
}

// freeAddress is a loopback address with a port that was free a moment ago.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// profileSeconds is about how long a healthy crawl takes.
const profileSeconds = 6

// saveProfile fetches a CPU profile of the crawl's beginning.
func saveProfile(ctx context.Context, address, dir string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", address, profileSeconds)
	var response *http.Response
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if response, err = http.DefaultClient.Do(request); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(sampleEvery): // the server is not up yet
		}
	}
	defer response.Body.Close()
	f, err := os.CreateTemp(dir, "sentry-*.pprof")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, response.Body)
	return errors.Join(err, f.Close())
}
