package clickhouse

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/chainbound/valtrack/internal/diskio"
)

// stateFile is in the data directory.
const stateFile = "clickhouse.json"

// state is how far the copy is. Losing it costs time, and nothing else: what the server has is
// counted before anything is inserted.
type state struct {
	// Endpoint and Database are where the copy is.
	Endpoint string `json:"endpoint"`
	Database string `json:"database"`
	// Source is in every row. It is the durable's name of the time when the copy began.
	Source string `json:"source"`
	// Epoch counts how often the copy was begun again; it is a part of the tokens, since the
	// server remembers those of rows that it has lost.
	Epoch uint64 `json:"epoch"`
	// Version is that of the newest refresh of the series.
	Version uint64                 `json:"version"`
	Tables  map[string]*tableState `json:"tables"`
}

type tableState struct {
	Next uint64 `json:"next"` // the first segment that is not copied
	// The newest part with rows that was copied: First to Last.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Rows  int64  `json:"rows"`
	// Attempt counts how often the next part had to be inserted under a new token.
	Attempt uint64 `json:"attempt"`
}

// readState reads the file of a data directory. A copy to another server or database begins
// again, and so does one whose file cannot be read.
func readState(dir string, t *target, source string, log *slog.Logger) (*state, error) {
	fresh := &state{Endpoint: t.endpoint, Database: t.database, Source: source, Tables: map[string]*tableState{}}
	path := filepath.Join(dir, stateFile)
	data, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil || s.Source == "" {
		log.Warn("the state of the copy in ClickHouse cannot be read: counting it from the beginning", slog.String("file", path), slog.Any("error", err))
		return fresh, nil
	}
	if s.Endpoint != t.endpoint || s.Database != t.database {
		return fresh, nil
	}
	for name, t := range s.Tables {
		if t == nil {
			delete(s.Tables, name)
		}
	}
	if s.Tables == nil {
		s.Tables = map[string]*tableState{}
	}
	return &s, nil
}

func (s *state) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return diskio.ReplaceFile(filepath.Join(dir, stateFile), append(data, '\n'), os.FileMode(0o644))
}

// Recount has the copy of a data directory counted from the beginning, and what is not as in the
// datasets replaced, when a consumer runs the next time. None may run meanwhile.
func Recount(dataDir string) error {
	err := os.Remove(filepath.Join(dataDir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *state) table(name string) *tableState {
	if s.Tables[name] == nil {
		s.Tables[name] = &tableState{}
	}
	return s.Tables[name]
}

// restart begins the copy again: every part is counted.
func (s *state) restart() {
	s.Epoch++
	s.Tables = map[string]*tableState{}
}

// nextVersion is greater than all before, also when the file was lost or the clock was changed.
func (s *state) nextVersion() uint64 {
	s.Version = max(s.Version+1, uint64(time.Now().UnixMilli()))
	return s.Version
}
