package network

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	rootFile    = "genesis_validators_root.txt"
	timeFile    = "genesis_time.txt"
	genesisFile = "genesis.ssz"
	maxTextFile = 4 << 10
	// stateHeadSize is the head of a BeaconState in SSZ, the same in every fork:
	// genesis_time (8 bytes, little endian), genesis_validators_root (32 bytes).
	stateHeadSize = 40
	// oldestChain is a genesis time, in Unix seconds, before that of any chain (2001).
	oldestChain = 1_000_000_000
)

// genesis of the chain.
type genesis struct {
	time           int64 // Unix seconds
	validatorsRoot eth2.Root
}

// sources are the files that say what the genesis is. An error is fs.ErrNotExist where a
// file is missing; a file of no use does not hide the others.
type sources struct {
	root             eth2.Root
	time             int64
	state            genesis
	rootErr, timeErr error
	stateErr         error
}

// readGenesis returns the genesis, and warnings about files that are not used and values
// that are not certain. Files that contradict each other are an error.
func readGenesis(fsys fs.FS, cfg config) (gen genesis, warnings []string, err error) {
	var s sources
	s.state, s.stateErr = readStateHead(fsys)
	s.root, s.rootErr = readRoot(fsys)
	s.time, s.timeErr = readTime(fsys)
	if err := s.contradiction(); err != nil {
		return genesis{}, nil, err
	}
	if gen.validatorsRoot, err = s.validatorsRoot(); err != nil {
		return genesis{}, nil, err
	}
	for _, err := range []error{s.rootErr, s.timeErr, s.stateErr} {
		if unusable(err) {
			warnings = append(warnings, "not used: "+err.Error())
		}
	}
	known, named := embeddedGenesis(cfg.name)
	same := named && known.validatorsRoot == gen.validatorsRoot
	if named && !same {
		warnings = append(warnings, fmt.Sprintf("%s has CONFIG_NAME %s, but the genesis validators root is %s and not that network's, %s: it is treated as another network of that name",
			configFile, cfg.name, gen.validatorsRoot, known.validatorsRoot))
	}
	from := configFile
	switch {
	case s.timeErr == nil:
		gen.time, from = s.time, timeFile
	case s.stateErr == nil:
		gen.time, from = s.state.time, genesisFile
	case unusable(s.timeErr):
		return genesis{}, nil, s.timeErr
	case same:
		gen.time = known.time
	case cfg.minGenesisTime > 0:
		gen.time = int64(cfg.minGenesisTime + cfg.genesisDelay)
		warnings = append(warnings, fmt.Sprintf("the genesis time %d is a guess, MIN_GENESIS_TIME + GENESIS_DELAY of %s: epochs and fork times are wrong if the chain began at another time; add %s or %s",
			gen.time, configFile, timeFile, genesisFile))
	default:
		return genesis{}, nil, errors.Join(
			fmt.Errorf("genesis time: neither %s nor a usable %s exists, and %s has no MIN_GENESIS_TIME: %w", timeFile, genesisFile, configFile, fs.ErrNotExist), s.stateErr)
	}
	if same && gen.time != known.time {
		return genesis{}, nil, fmt.Errorf("the genesis time %d of %s contradicts CONFIG_NAME %s of %s, whose chain with this genesis validators root began at %d",
			gen.time, from, cfg.name, configFile, known.time)
	}
	return gen, warnings, nil
}

// unusable reports whether the error is of a file that is there.
func unusable(err error) bool { return err != nil && !errors.Is(err, fs.ErrNotExist) }

// contradiction is the error of two usable files that differ.
func (s *sources) contradiction() error {
	const format = "%s has %v and %s has %v: remove the one that is not this network's"
	if s.stateErr != nil {
		return nil //nolint:nilerr // nothing to compare with
	}
	switch {
	case s.rootErr == nil && s.root != s.state.validatorsRoot:
		return fmt.Errorf(format, rootFile, s.root, genesisFile, s.state.validatorsRoot)
	case s.timeErr == nil && s.time != s.state.time:
		return fmt.Errorf(format, timeFile, s.time, genesisFile, s.state.time)
	}
	return nil
}

func (s *sources) validatorsRoot() (eth2.Root, error) {
	switch {
	case s.rootErr == nil:
		return s.root, nil
	case s.stateErr == nil:
		return s.state.validatorsRoot, nil
	case !unusable(s.rootErr) && !unusable(s.stateErr):
		return eth2.Root{}, fmt.Errorf("neither %s nor %s exists: %w", rootFile, genesisFile, fs.ErrNotExist)
	}
	return eth2.Root{}, fmt.Errorf("neither %s nor %s can be used: %w", rootFile, genesisFile, errors.Join(s.rootErr, s.stateErr))
}

// embeddedGenesis is the genesis of the embedded network of the name.
func embeddedGenesis(name string) (gen genesis, ok bool) {
	dir, err := fs.Sub(embedded, networksDir+"/"+name)
	if err != nil { // not a name of a directory
		return genesis{}, false
	}
	root, rootErr := readRoot(dir)
	seconds, timeErr := readTime(dir)
	return genesis{time: seconds, validatorsRoot: root}, rootErr == nil && timeErr == nil
}

func readRoot(fsys fs.FS) (root eth2.Root, err error) {
	data, err := readFile(fsys, rootFile, maxTextFile)
	if err != nil {
		return root, err
	}
	text := strings.TrimSpace(string(data))
	if err := root.UnmarshalText([]byte(text)); err != nil {
		return root, &ValueError{File: rootFile, Value: text, Err: errors.New("want 32 bytes of hex")}
	}
	return root, nil
}

func readTime(fsys fs.FS) (int64, error) {
	data, err := readFile(fsys, timeFile, maxTextFile)
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(data))
	seconds, err := strconv.ParseUint(text, 10, 64)
	if err != nil || seconds > maxUnixTime {
		return 0, &ValueError{File: timeFile, Value: text, Err: errors.New("want Unix seconds")}
	}
	return int64(seconds), nil
}

// readStateHead reads no more than the head: a genesis state can have 100 MB.
func readStateHead(fsys fs.FS) (genesis, error) {
	f, err := fsys.Open(genesisFile)
	if err != nil {
		return genesis{}, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, maxMagic))
	if err != nil {
		return genesis{}, fmt.Errorf("%s: %w", genesisFile, err)
	}
	if len(head) < stateHeadSize {
		return genesis{}, fmt.Errorf("%s: the first %d bytes: %w", genesisFile, stateHeadSize, cmp.Or(foreign(head), io.ErrUnexpectedEOF))
	}
	seconds := binary.LittleEndian.Uint64(head[:8])
	if seconds < oldestChain || seconds > maxUnixTime {
		if err := foreign(head); err != nil {
			return genesis{}, &ValueError{File: genesisFile, Err: err}
		}
	}
	if seconds > maxUnixTime {
		return genesis{}, &ValueError{File: genesisFile, Value: strconv.FormatUint(seconds, 10), Err: errors.New("is not a genesis time in Unix seconds: this is not a beacon state")}
	}
	return genesis{time: int64(seconds), validatorsRoot: eth2.Root(head[8:stateHeadSize])}, nil
}
