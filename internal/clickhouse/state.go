package clickhouse

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/chainbound/valtrack/internal/diskio"
)

// stateFile is in the data directory.
const stateFile = "clickhouse.json"

// state is how far the copy is. Losing it costs time, and nothing else: what the server has is
// counted before anything is inserted, and the table sources has which source the directory had.
type state struct {
	// Endpoint and Database are where the copy is.
	Endpoint string `json:"endpoint"`
	Database string `json:"database"`
	// Source is in every row. It is the durable's name of the time when the copy began.
	Source string `json:"source"`
	// Directory is the id of the data directory, and Claim the number of its newest row in the table
	// sources, 0 when it has none on this server.
	Directory string `json:"directory"`
	Claim     uint64 `json:"claim"`
	// New says that the file was not there, Existing that rows were, and TakeOver that somebody
	// has written the file to name its source; all until the first claim.
	New      bool `json:"new,omitempty"`
	Existing bool `json:"existing,omitempty"`
	TakeOver bool `json:"take_over,omitempty"`
	// Epoch is greater each time that the copy begins again; it is a part of the tokens, since the
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
	// Stale is the first version of schema.mark that no refresh followed; 0 for none.
	Stale uint64 `json:"stale,omitempty"`
}

// openState reads the file of a data directory, or makes it: source is then in the rows from the
// first claim on, whatever the durable is later, and directory is the id. existing says that the
// directory has rows. A copy to another server or database begins again, and so does one whose
// file cannot be read.
func openState(dir string, t *target, source, directory string, existing bool, log *slog.Logger) (*state, error) {
	s, err := readState(dir)
	if err != nil {
		return nil, err
	}
	if s == nil {
		path := filepath.Join(dir, stateFile)
		if _, err := os.Lstat(path); err == nil {
			log.Warn("cannot read the state of the copy in ClickHouse: counting everything again", slog.String("file", path), slog.String("source", source))
		}
		s = &state{New: true, Existing: existing, Tables: map[string]*tableState{}}
	}
	if s.New { // nothing was copied under another name
		s.Source = source
	}
	if s.Directory == "" { // of an earlier version, or written by somebody
		s.Directory, s.TakeOver = directory, !s.New && s.Endpoint == ""
	}
	if s.Endpoint != t.endpoint || s.Database != t.database {
		s.Endpoint, s.Database, s.Claim = t.endpoint, t.database, 0
		s.restart()
	}
	return s, s.write(dir)
}

// readState is nil when there is no file, or none that can be used.
func readState(dir string) (*state, error) {
	data, err := readSmall(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s state
	if usable := json.Unmarshal(data, &s) == nil && s.Source != ""; !usable {
		return nil, nil
	}
	maps.DeleteFunc(s.Tables, func(_ string, t *tableState) bool { return t == nil })
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
	s, err := readState(dataDir)
	if err != nil || s == nil { // without a state, everything is counted
		return err
	}
	s.restart()
	return s.write(dataDir)
}

func (s *state) table(name string) *tableState {
	if s.Tables[name] == nil {
		s.Tables[name] = &tableState{}
	}
	return s.Tables[name]
}

// restart begins the copy again: every part is counted. The source stays.
func (s *state) restart() {
	s.Epoch = nextNumber(s.Epoch)
	for name, t := range s.Tables {
		s.Tables[name] = &tableState{Stale: t.Stale}
	}
}

// nextVersion is that of the next refresh.
func (s *state) nextVersion() uint64 {
	s.Version = nextNumber(s.Version)
	return s.Version
}

// nextNumber is greater than last, and than all before if the file was lost; the clock may have
// been changed since, or the file lost, but not both.
func nextNumber(last uint64) uint64 {
	return max(last+1, uint64(time.Now().UnixMilli()))
}
