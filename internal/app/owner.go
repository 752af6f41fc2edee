package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// networkFile says which network a data directory belongs to: rows of two networks in one
// dataset, under one identity, cannot be separated later.
const networkFile = "network.json"

// owner is the network that a data directory belongs to, the content of networkFile.
type owner struct {
	Name string `json:"name"`
	// GenesisValidatorsRoot is zero where it is not known.
	GenesisValidatorsRoot eth2.Root `json:"genesis_validators_root,omitzero"`
	// NetworkDir has the network's files, unless the network is an embedded one; a relative
	// path is below the data directory. Simulated: the process is the network.
	NetworkDir string `json:"network_dir,omitempty"`
	Simulated  bool   `json:"simulated,omitempty"`
	// GenesisTime is in Unix seconds, 0 where it is not known: a simulated network has another
	// one at each start.
	GenesisTime int64 `json:"genesis_time,omitempty"`
}

func (o owner) String() string {
	if o.GenesisValidatorsRoot == (eth2.Root{}) {
		return o.Name
	}
	return fmt.Sprintf("%s (genesis validators root %s)", o.Name, o.GenesisValidatorsRoot)
}

// is reports whether a network is the owner, as far as that is known.
func (o owner) is(net network.Network) bool {
	return o.Name == net.Name && (o.GenesisValidatorsRoot == eth2.Root{} || o.GenesisValidatorsRoot == net.GenesisValidatorsRoot)
}

func ownerOf(use DirUse) owner {
	o := owner{Name: use.Network.Name, GenesisValidatorsRoot: use.Network.GenesisValidatorsRoot, NetworkDir: use.NetworkDir, Simulated: use.Simulated}
	if t := use.Network.GenesisTime; !use.Simulated && t.Unix() > 0 {
		o.GenesisTime = t.Unix()
	}
	return o
}

// began is when the owner's network began, in Unix seconds: of a simulated one as its files
// say now. 0 where it is not known.
func (o owner) began(dir string) int64 {
	if !o.Simulated || o.NetworkDir == "" {
		return o.GenesisTime
	}
	from := o.NetworkDir
	if !filepath.IsAbs(from) {
		from = filepath.Join(dir, from)
	}
	net, err := network.LoadFS(os.DirFS(from), o.Name)
	if err != nil {
		return 0
	}
	return net.GenesisTime.Unix()
}

// readOwner reads the file; false when there is none, or an empty one, which is as good as
// none: an earlier version did not fsync it.
func readOwner(dir string) (o owner, ok bool, err error) {
	path := filepath.Join(dir, networkFile)
	text, _, err := readState(path)
	if err != nil || text == "" {
		return o, false, AsConfigError(err)
	}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return o, false, ConfigErrorf("%s is damaged: %w; restore it, or remove it so that it is written again", path, err)
	}
	if o.Name == "" {
		return o, false, ConfigErrorf("%s is damaged: it names no network; restore it, or remove it so that it is written again", path)
	}
	return o, true, nil
}

// writeOwner assigns the directory to the network. What the file says already stays, unless
// the new entry says more.
func writeOwner(dir string, o owner) error {
	have, ok, err := readOwner(dir)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(dir, o.NetworkDir); err == nil && o.NetworkDir != "" && filepath.IsLocal(rel) {
		o.NetworkDir = rel
	} else if abs, err := filepath.Abs(o.NetworkDir); err == nil && o.NetworkDir != "" {
		o.NetworkDir = abs
	}
	if o.NetworkDir == "" {
		o.NetworkDir, o.Simulated = have.NetworkDir, have.Simulated
	}
	if o.NetworkDir == have.NetworkDir { // also of a command that cannot simulate it
		o.Simulated = o.Simulated || have.Simulated
	}
	if o.GenesisValidatorsRoot == (eth2.Root{}) {
		o.GenesisValidatorsRoot = have.GenesisValidatorsRoot
	}
	if o.GenesisTime == 0 {
		o.GenesisTime = have.GenesisTime
	}
	if o.Simulated {
		o.GenesisTime = 0
	}
	if ok && have == o {
		return nil
	}
	text, err := json.Marshal(o)
	if err == nil {
		err = diskio.ReplaceFile(filepath.Join(dir, networkFile), append(text, '\n'), 0o644)
	}
	return AsConfigError(err)
}

// checkOwner refuses a network that the directory does not belong to: by its file or, where
// there is none, by the rows in it. A consumer needs rows that it can read.
func checkOwner(dir string, use DirUse) error {
	net := use.Network
	if err := checkOwnerFile(dir, use); err != nil {
		return err
	}
	_, ok, err := readOwner(dir)
	if err != nil || ok && !use.Consumer {
		return err
	}
	names, err := dataset.Inspect(dir)
	if err != nil {
		return AsConfigError(err)
	}
	if !ok && net.Name != "" && len(names) > 0 && !slices.Contains(names, net.Name) {
		return errForeign(dir, owner{Name: strings.Join(names, " and ")}, net)
	}
	return nil
}

// CheckNetworkName refuses, as a ConfigError, the name of another network than the one that
// the data directory belongs to.
func CheckNetworkName(dir, name string) error {
	have, ok, err := readOwner(dir)
	if err == nil && ok && have.Name != name {
		err = ConfigErrorf("--%s %q holds data of network %s, not of %s; leave --%s out, or give another --%s", OptDataDir, dir, have, name, OptNetwork, OptDataDir)
	}
	return err
}

func checkOwnerFile(dir string, use DirUse) error {
	have, ok, err := readOwner(dir)
	if err != nil || !ok || use.Network.Name == "" {
		return err
	}
	if !have.is(use.Network) {
		return errForeign(dir, have, use.Network)
	}
	is := ownerOf(use).GenesisTime
	if use.Simulated && !have.Simulated && have.GenesisTime > 0 {
		is = time.Now().Unix()
	}
	if was := have.began(dir); was > 0 && is > 0 && was != is {
		return ConfigErrorf("--%s %q holds data of a network named %s that began at %s, while this one began at %s: a different network of the same name; choose another directory, or remove %s there if only the genesis time was wrong",
			OptDataDir, dir, have.Name, instant(was), instant(is), networkFile)
	}
	return nil
}

func instant(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

// DirNetwork is the network of a data directory.
type DirNetwork struct {
	network.Network
	// Dir has the network's files; empty for an embedded network.
	Dir string
	// Simulated: the network is a devnet in the process that uses the directory, which
	// decides what is missing here.
	Simulated bool
	// Missing says, as a ConfigError, why the network's files cannot be used. Then only its
	// name is known, and its root if it is not zero.
	Missing error
}

// NetworkOf is the network that a data directory belongs to; false when it is new. Errors
// are ConfigErrors.
func NetworkOf(dir string) (n DirNetwork, ok bool, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return n, false, nil // a command that writes says what is wrong with the place
	}
	o, ok, err := readOwner(dir)
	if err != nil {
		return n, false, err
	}
	if !ok {
		names, err := dataset.Inspect(dir)
		if err != nil || len(names) == 0 {
			return n, false, AsConfigError(err)
		}
		if len(names) > 1 {
			return n, false, ConfigErrorf("--%s %q holds events of the networks %s: choose with --%s which to continue with", OptDataDir, dir, strings.Join(names, " and "), OptNetwork)
		}
		o.Name = names[0]
	}
	if slices.Contains(network.Names(), o.Name) && o.NetworkDir == "" {
		n.Network, err = network.Load(o.Name)
		if err == nil && o.is(n.Network) {
			return n, true, nil
		}
	}
	n.Network, n.Dir, n.Simulated = network.Network{Name: o.Name, GenesisValidatorsRoot: o.GenesisValidatorsRoot}, o.NetworkDir, o.Simulated
	switch {
	case n.Dir == "" && o.Name == devnet.Name: // as an earlier version wrote it
		n.Dir = filepath.Join(dir, devnet.Name)
		_, err := os.Stat(n.Dir)
		n.Simulated = err == nil
	case n.Dir != "" && !filepath.IsAbs(n.Dir):
		n.Dir = filepath.Join(dir, n.Dir)
	}
	n.load(o)
	if n.Missing != nil {
		n.Missing = ConfigErrorf("--%s %q belongs to network %s, whose files cannot be used: %w; give --%s DIR with them", OptDataDir, dir, o, n.Missing, OptNetworkDir)
	}
	return n, true, nil
}

// load reads the network's files.
func (n *DirNetwork) load(o owner) {
	if n.Dir == "" {
		n.Missing = errors.New("it is not an embedded one")
		return
	}
	net, err := network.LoadFS(os.DirFS(n.Dir), o.Name)
	switch {
	case err != nil:
		n.Missing = fmt.Errorf("%s: %w", n.Dir, err)
	case !o.is(net):
		n.Missing = fmt.Errorf("%s is of another one (genesis validators root %s)", n.Dir, net.GenesisValidatorsRoot)
	default:
		n.Network = net
	}
}
