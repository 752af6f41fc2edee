package mirror

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chainbound/valtrack/internal/diskio"
)

// StateFile says, in a data directory, which copies are its own: two directories that wrote
// to one would remove each other's parts.
const StateFile = "mirror.json"

// state is the content of StateFile.
type state struct {
	// Writer is the directory's id.
	Writer string `json:"writer"`
	// Copies has, by location, the generation of the manifest that was written last or was
	// about to be when the process died.
	Copies map[string]uint64 `json:"copies"`
	// Restored is the manifest that the directory was made of. It stays after the directory has
	// written to that copy: as long as this manifest is there, no other has replaced it.
	Restored *origin `json:"restored,omitempty"`
}

// origin is a manifest by its writer and generation.
type origin struct {
	Location   string `json:"location"`
	Writer     string `json:"writer"`
	Generation uint64 `json:"generation"`
}

func newState() state {
	id := make([]byte, 8)
	rand.Read(id) // never fails
	return state{Writer: hex.EncodeToString(id), Copies: map[string]uint64{}}
}

// readState is a new one where there is none.
func readState(dataDir string) (state, error) {
	path := filepath.Join(dataDir, StateFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newState(), nil
	}
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil || s.Writer == "" || s.Copies == nil {
		return state{}, fmt.Errorf("%s is damaged: remove it, and mirror to a new prefix", path)
	}
	return s, nil
}

func (s state) write(dataDir string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return diskio.ReplaceFile(filepath.Join(dataDir, StateFile), append(text, '\n'), 0o644)
}

// owns is nil when the directory may replace the manifest.
func (s state) owns(at Location, m *Manifest) error {
	written := s.Copies[at.String()]
	switch {
	case m.Writer == s.Writer && (m.Generation == written || m.Generation+1 == written): // the latter after a crash
		return nil
	case s.Restored != nil && *s.Restored == origin{at.String(), m.Writer, m.Generation}:
		return nil
	case m.Writer == s.Writer:
		return refusedError{fmt.Errorf("%s has generation %d of this directory's copy, which itself knows of generation %d: this directory is an older copy of the one that wrote it; mirror to another prefix, or restore from %s", at, m.Generation, written, at)}
	}
	return refusedError{fmt.Errorf("%s is the copy of another data directory (%s, this one is %s): mirror to another prefix", at, m.Writer, s.Writer)}
}
