package network

import (
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
)

// genesis of the chain.
type genesis struct {
	time           int64 // Unix seconds
	validatorsRoot eth2.Root
}

func readGenesis(fsys fs.FS, cfg config) (genesis, error) {
	state, stateErr := readStateHead(fsys)
	if stateErr != nil && !errors.Is(stateErr, fs.ErrNotExist) {
		return genesis{}, stateErr
	}
	root, err := readRoot(fsys)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return genesis{}, err
	case stateErr != nil:
		return genesis{}, fmt.Errorf("neither %s nor %s exists: %w", rootFile, genesisFile, fs.ErrNotExist)
	default:
		root = state.validatorsRoot
	}
	seconds, err := readTime(fsys)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return genesis{}, err
	case stateErr == nil:
		seconds = state.time
	case cfg.minGenesisTime > 0:
		seconds = int64(cfg.minGenesisTime + cfg.genesisDelay)
	default:
		return genesis{}, fmt.Errorf("genesis time: neither %s nor %s exists, and %s has no MIN_GENESIS_TIME: %w", timeFile, genesisFile, configFile, fs.ErrNotExist)
	}
	return genesis{time: seconds, validatorsRoot: root}, nil
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
	var head [stateHeadSize]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return genesis{}, fmt.Errorf("%s: the first %d bytes: %w", genesisFile, stateHeadSize, err)
	}
	seconds := binary.LittleEndian.Uint64(head[:8])
	if seconds > maxUnixTime {
		return genesis{}, &ValueError{File: genesisFile, Value: strconv.FormatUint(seconds, 10), Err: errors.New("is not a genesis time in Unix seconds: this is not a beacon state")}
	}
	return genesis{time: int64(seconds), validatorsRoot: eth2.Root(head[8:])}, nil
}

// readFile reads a whole file of at most limit bytes.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: is over %d bytes", name, limit)
	}
	return data, nil
}
