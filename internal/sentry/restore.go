package sentry

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/network"
)

// maxStoreLine bounds a line of the store; a record has at most 404 characters.
const maxStoreLine = 4 << 10

// OpenStore reads the peer table in the data directory, or begins one. At most
// maxPeers are taken; 0 means DefaultMaxPeers. Half a line at the end, as a crash
// leaves it, is dropped. A file with damage elsewhere is kept beside as
// peers.ndjson.damaged, and everything legible in it is taken; one of another
// network is kept as peers.ndjson.other. Errors are of a disk that cannot be read
// or written.
func OpenStore(dir string, net network.Network, maxPeers int, log *slog.Logger) (*Store, error) {
	if maxPeers <= 0 {
		maxPeers = DefaultMaxPeers
	}
	s := &Store{path: filepath.Join(dir, peersFile), header: headerOf(net), log: log}
	s.loaded = newLoaded()
	content, err := s.load(maxPeers)
	if err != nil {
		return nil, fmt.Errorf("read peer table: %w", err)
	}
	if err := s.reopen(content); err != nil {
		return nil, fmt.Errorf("write peer table: %w", err)
	}
	return s, nil
}

// fileState is what load found.
type fileState struct {
	good    int64 // bytes up to the end of the last whole line
	lines   int
	bad     int // lines that are none of ours
	firstAt int // number of the first of those
	foreign bool
}

func (s *Store) load(maxPeers int) (fileState, error) {
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fileState{}, nil
	}
	if err != nil {
		return fileState{}, err
	}
	defer f.Close()
	var state fileState
	since := time.Now().Add(-time.Hour) // far more than the spacing
	lines := bufio.NewReaderSize(f, maxStoreLine)
	for {
		line, size, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return state, nil // what is left, if anything, is half a line
		}
		if err != nil {
			return state, err
		}
		state.good += size
		state.lines++
		ok, foreign := s.take(line, state.lines, maxPeers, since)
		if foreign {
			state.foreign = true
			return state, nil
		}
		if !ok {
			if state.bad++; state.bad == 1 {
				state.firstAt = state.lines
			}
		}
	}
}

// readLine gives the next line, nil for one that does not fit the reader's buffer,
// and its size in bytes. It is io.EOF when no whole line is left.
func readLine(r *bufio.Reader) (line []byte, size int64, err error) {
	line, err = r.ReadSlice('\n')
	size = int64(len(line))
	for errors.Is(err, bufio.ErrBufferFull) {
		var more []byte
		more, err = r.ReadSlice('\n')
		line, size = nil, size+int64(len(more))
	}
	return line, size, err
}

// take reads one line: not ok when it is damaged, foreign when it is the head of
// another network's table.
func (s *Store) take(line []byte, number, maxPeers int, since time.Time) (ok, foreign bool) {
	if number == 1 {
		var head storeHeader
		if err := json.Unmarshal(line, &head); err != nil || head.Format != storeFormat {
			return false, false
		}
		return true, head != s.header
	}
	var p storedPeer
	if err := json.Unmarshal(line, &p); err != nil {
		return false, false
	}
	return s.loaded.apply(p, maxPeers, since), false
}

// reopen makes the file ready for more lines: as it is, without half a line at its
// end, or begun anew with the old one set aside.
func (s *Store) reopen(state fileState) error {
	switch {
	case state.foreign:
		s.log.Warn("the peer table is of another network: beginning a new one",
			slog.String("file", s.path), slog.String("kept_as", s.path+".other"))
		return s.restart(".other")
	case state.bad > 0:
		s.log.Warn("the peer table is damaged: going on with what can be read",
			slog.String("file", s.path), slog.Int("bad_lines", state.bad), slog.Int("first_bad_line", state.firstAt),
			slog.Int("peers", len(s.loaded.peers)), slog.String("kept_as", s.path+".damaged"))
		return s.restart(".damaged")
	case state.lines == 0:
		return s.restart("")
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if err := f.Truncate(state.good); err != nil {
		f.Close()
		return err
	}
	s.file, s.size = f, state.good
	// Unknown; an estimate makes the first compaction come in time.
	s.live = int64(len(s.loaded.peers)) * storedSize
	return nil
}

// storedSize is about what a peer takes in the file, in bytes.
const storedSize = 640

// restart sets the old file aside and writes a new one with what is loaded.
func (s *Store) restart(suffix string) error {
	if suffix != "" {
		if err := os.Rename(s.path, s.path+suffix); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	lines := json.NewEncoder(w)
	errs := []error{lines.Encode(s.header)}
	for a, at := range s.loaded.dialled {
		errs = append(errs, lines.Encode(storedPeer{Address: a.String(), Began: at.UnixMilli()}))
	}
	for id, p := range s.loaded.peers {
		line := wholeOf(p)
		if _, open := s.loaded.open[id]; open {
			line.Began = max(line.LastSeen, 1)
		}
		errs = append(errs, lines.Encode(line))
	}
	if err := errors.Join(append(errs, w.Flush(), f.Sync())...); err != nil {
		f.Close()
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	s.file, s.size, s.live = f, info.Size(), info.Size()
	return nil
}

// Peers is the number of peers that were read.
func (s *Store) Peers() int { return len(s.loaded.peers) }

// Known lists at most limit ENRs to begin discovery with, none of an excluded node:
// of reachable peers first, then of those seen last. It is for the time before Run.
func (s *Store) Known(limit int, exclude *Exclude) []string {
	var known []*peer
	for _, p := range s.loaded.peers {
		if p.text != "" {
			known = append(known, p)
		}
	}
	slices.SortFunc(known, func(a, b *peer) int {
		if a.reachable != b.reachable {
			if a.reachable {
				return -1
			}
			return 1
		}
		return b.lastSeen.Compare(a.lastSeen)
	})
	texts := make([]string, 0, min(limit, len(known)))
	for _, p := range known {
		if len(texts) == limit {
			break
		}
		if !exclude.knows(p) {
			texts = append(texts, p.text)
		}
	}
	return texts
}
