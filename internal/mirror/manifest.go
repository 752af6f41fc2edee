package mirror

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/chainbound/valtrack/internal/dataset"
)

const (
	// manifestName is the object that says what a copy consists of.
	manifestName = "manifest.json"
	// manifestVersion grows when a reader of the version before would misunderstand it.
	manifestVersion = 1
	// maxManifest bounds the manifest, in bytes, and the object Known: the manifest of a hundred
	// years has 100 MB.
	maxManifest = 128 << 20
	// maxObject bounds an object, in bytes: what a store takes in one request.
	maxObject = 5 << 30
)

// Manifest says what a copy consists of. Names of objects are relative to it.
type Manifest struct {
	Version int `json:"version"`
	// Generation counts the manifests of a copy, from 1.
	Generation uint64 `json:"generation"`
	Written    int64  `json:"written"` // Unix milliseconds, by the writer's clock
	// Writer is the id of the data directory that the copy is of; see state.
	Writer                string `json:"writer"`
	Network               string `json:"network"`
	GenesisValidatorsRoot string `json:"genesis_validators_root,omitempty"`
	// Base is the address of the manifest's directory, for readers.
	Base  string  `json:"base"`
	Parts []Entry `json:"parts"`
	// Known has what was ever stored, as JSON: what of it is not in the parts was removed.
	Known Object `json:"known"`
	// Replaced are objects that no manifest lists any more; they are deleted after a while.
	Replaced []Replaced `json:"replaced"`
}

// Object is one object of a copy.
type Object struct {
	Name   string `json:"object"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"object_bytes"`
}

// Entry is a part and its object.
type Entry struct {
	dataset.Part
	Object
}

// Replaced is an object that is no longer listed since a time, Unix milliseconds: when the first
// manifest without it was written.
type Replaced struct {
	Name  string `json:"object"`
	Since int64  `json:"since"`
}

// known is the content of the object Known.
type known struct {
	Events   dataset.Coverage `json:"events"`
	Segments dataset.Coverage `json:"segments"`
}

// errNewer marks a manifest of a later version.
var errNewer = errors.New("it was written by a later version of valtrack: use that version")

// decodeManifest refuses what a Mirror cannot have written: names that lead elsewhere, and
// parts that do not fit together.
func decodeManifest(text []byte) (*Manifest, error) {
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return nil, fmt.Errorf("the manifest is damaged: %w", err)
	}
	if version.Version > manifestVersion {
		return nil, fmt.Errorf("%w (version %d)", errNewer, version.Version)
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("the manifest is damaged: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("the manifest is damaged: %w", err)
	}
	return m, nil
}

func (m *Manifest) check() error {
	if m.Version != manifestVersion || m.Generation == 0 || m.Writer == "" || m.Network == "" {
		return errors.New("its version, generation, writer or network is missing")
	}
	if err := m.Known.check(); err != nil {
		return err
	}
	if m.Known.Bytes > maxManifest { // it is read into memory
		return fmt.Errorf("object %q has %d bytes, limit %d", m.Known.Name, m.Known.Bytes, maxManifest)
	}
	next := map[string]uint64{} // by table, the first segment that may follow
	for _, e := range m.Parts {
		if err := errors.Join(e.Check(), e.check()); err != nil {
			return err
		}
		if e.First < next[e.Table] || e.Object.Bytes != e.Part.Bytes {
			return fmt.Errorf("%s %s is out of order, or of two sizes", e.Table, e.File)
		}
		next[e.Table] = e.Last + 1
	}
	for _, r := range m.Replaced {
		if !fs.ValidPath(r.Name) {
			return fmt.Errorf("object %q is no name", r.Name)
		}
	}
	return nil
}

func (o Object) check() error {
	if sum, err := hex.DecodeString(o.SHA256); err != nil || len(sum) != 32 || !fs.ValidPath(o.Name) || o.Bytes < 0 || o.Bytes > maxObject {
		return fmt.Errorf("object %q has no name, size and SHA-256", o.Name)
	}
	return nil
}

func (o Object) sum() (sum [32]byte) {
	hex.Decode(sum[:], []byte(o.SHA256)) //nolint:errcheck // checked when it was read
	return sum
}

// names are the objects that the manifest lists.
func (m *Manifest) names() map[string]bool {
	out := map[string]bool{m.Known.Name: true}
	for _, e := range m.Parts {
		out[e.Name] = true
	}
	return out
}

// bytes and rows are those of all parts.
func (m *Manifest) totals() (bytes, rows int64) {
	for _, e := range m.Parts {
		bytes += e.Part.Bytes
		rows += e.Rows
	}
	return bytes, rows
}

// sort puts the parts into the order of tables and segments.
func (m *Manifest) sort() {
	order := dataset.Tables()
	slices.SortFunc(m.Parts, func(a, b Entry) int {
		if a.Table != b.Table {
			return slices.Index(order, a.Table) - slices.Index(order, b.Table)
		}
		if a.First < b.First {
			return -1
		}
		return 1
	})
}
