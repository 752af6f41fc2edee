package sentry

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/chainbound/valtrack/internal/diskio"
)

const (
	// journalFile is the peer table of earlier versions: JSON lines, a journalHeader
	// and then storedPeers, of which later ones of a peer add to earlier ones.
	journalFile   = "peers.ndjson"
	journalFormat = "valtrack peers 1"
	// maxJournalLine bounds a line in bytes; a record has at most 404 characters.
	maxJournalLine = 4 << 10
)

// journalHeader is the first line of the journal.
type journalHeader struct {
	Format                string `json:"format"`
	Network               string `json:"network"`
	GenesisValidatorsRoot string `json:"genesis_validators_root"`
	GenesisTime           int64  `json:"genesis_time_ms"` // Unix
}

// journal is what reading one has found.
type journal struct {
	bad          int // invalid lines
	firstAt      int // number of the first of those
	otherNetwork bool
}

// importJournal creates the database, with the peers of the journal of an earlier
// version if there is one. The journal is removed after that; a damaged one, or one of
// another network, is renamed.
func (s *Store) importJournal(ctx context.Context) error {
	path := filepath.Join(filepath.Dir(s.path), journalFile)
	found, err := s.readJournal(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.create(ctx, "")
	}
	if err != nil {
		return err
	}
	if err := s.create(ctx, ""); err != nil {
		return err
	}
	file := slog.String("file", path)
	switch {
	case found.otherNetwork:
		s.log.Warn("the peer table belongs to another network: starting a new one", file, slog.String("kept_as", path+otherSuffix))
		err = os.Rename(path, path+otherSuffix)
	case found.bad > 0:
		s.log.Warn("the peer table is damaged: continuing with the peers that can be read",
			file, slog.Int("bad_lines", found.bad), slog.Int("first_bad_line", found.firstAt),
			slog.Int("peers", len(s.loaded.peers)), slog.String("kept_as", path+damagedSuffix))
		err = os.Rename(path, path+damagedSuffix)
	default:
		s.log.Info("imported the peer table from the file of an earlier version, and removed the file", file, slog.Int("peers", len(s.loaded.peers)))
		err = os.Remove(path)
	}
	if err != nil {
		return err
	}
	return diskio.SyncDir(filepath.Dir(path))
}

// dropJournal removes a journal beside a complete database: a start was ended between
// importing and removing it. Were it to stay, it would be imported again by whoever
// removes the database to start from nothing, excluded peers and all.
func (s *Store) dropJournal() error {
	path := filepath.Join(filepath.Dir(s.path), journalFile)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.log.Warn("removed the peer table of an earlier version, which was already imported", slog.String("file", path))
	return diskio.SyncDir(filepath.Dir(path))
}

// readJournal reads the journal into loaded. Half a line at the end, as a crash leaves
// it, is dropped.
func (s *Store) readJournal(path string) (found journal, err error) {
	f, err := os.Open(path)
	if err != nil {
		return found, err
	}
	defer f.Close()
	since := time.Now().Add(-time.Hour) // far more than the spacing
	lines := diskio.NewLineReader(f, maxJournalLine)
	for lines.Next() {
		line := lines.Line()
		if line.Torn {
			break
		}
		ok, other := s.applyLine(line.Text, line.Number, since)
		if other {
			found.otherNetwork = true
			return found, nil
		}
		if !ok || line.TooLong {
			if found.bad++; found.bad == 1 {
				found.firstAt = line.Number
			}
		}
	}
	return found, lines.Err()
}

// applyLine reads one line: not ok when it is damaged, other when it is the head of
// another network's table.
func (s *Store) applyLine(line []byte, number int, since time.Time) (ok, other bool) {
	if number == 1 {
		var head journalHeader
		if err := json.Unmarshal(line, &head); err != nil || head.Format != journalFormat {
			return false, false
		}
		return true, networkID{head.Network, head.GenesisValidatorsRoot, head.GenesisTime} != s.network
	}
	var p storedPeer
	if err := json.Unmarshal(line, &p); err != nil {
		return false, false
	}
	return s.loaded.apply(p, s.maxPeers, since), false
}
