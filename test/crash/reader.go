package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

// readEvery is the reader's pause between two rounds over all tables.
const readEvery = 700 * time.Millisecond

// reader is DuckDB in its own process, which reads the datasets all the time.
type reader struct {
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when reads is complete
	reads reads
	err   error // of reading its output; valid when done
}

// reads counts what a reader has seen.
type reads struct {
	all    int
	again  int // attempts that met a part that had just been merged away
	failed int
	twice  int // reads that saw a key twice
	first  string
}

// startReader waits for the datasets and has DuckDB read them. duckdb is the
// directory of the npm project.
func startReader(ctx context.Context, duckdb, data string) (*reader, error) {
	for _, table := range dataset.Tables() {
		for {
			parts, err := os.ReadDir(dataset.Dir(data, table))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			if len(parts) > 0 {
				break
			}
			if err := pause(ctx, drainPoll); err != nil {
				return nil, fmt.Errorf("no datasets in %s: %w", data, err)
			}
		}
	}
	r := &reader{cmd: exec.CommandContext(ctx, "node", filepath.Join(duckdb, "watch.mjs"), data, strconv.FormatInt(readEvery.Milliseconds(), 10)), done: make(chan struct{})}
	r.cmd.Stderr = os.Stderr
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r.stdin = stdin
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start DuckDB: %w", err)
	}
	go r.collect(stdout)
	return r, nil
}

func (r *reader) collect(stdout io.Reader) {
	defer close(r.done)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var line struct {
			Table string  `json:"table"`
			Rows  float64 `json:"rows"`
			Twice float64 `json:"twice"`
			Again int     `json:"again"`
			Error string  `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			r.err = errors.Join(r.err, err)
			continue
		}
		r.reads.all++
		r.reads.again += line.Again
		switch {
		case line.Error != "":
			r.reads.failed++
			r.reads.note(line.Table + ": " + line.Error)
		case line.Twice > 0:
			r.reads.twice++
			r.reads.note(fmt.Sprintf("%s: %.0f of %.0f rows twice", line.Table, line.Twice, line.Rows))
		}
	}
}

func (r *reads) note(what string) {
	if r.first == "" {
		r.first = what
	}
}

// stop lets it finish its round and gives what it has seen.
func (r *reader) stop() (reads, error) {
	err := r.stdin.Close()
	<-r.done
	return r.reads, errors.Join(err, r.err, r.cmd.Wait())
}
