package network

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Ends of the keys of a fork, such as ALTAIR_FORK_EPOCH.
const (
	epochSuffix   = "_FORK_EPOCH"
	versionSuffix = "_FORK_VERSION"
)

// forkNames are the forks in the order of the protocol. phase0's version is under
// GENESIS_FORK_VERSION, the others' under e.g. ALTAIR_FORK_VERSION.
func forkNames() []string {
	return []string{eth2.ForkPhase0, "altair", "bellatrix", "capella", "deneb", eth2.ForkElectra, eth2.ForkFulu, "gloas", "heze"}
}

// oldForkNames are names that forks had in configurations before they got their own.
func oldForkNames() map[string]string {
	return map[string]string{"bellatrix": "MERGE", "deneb": "EIP4844"}
}

// forks lists the forks that have a version, scheduled or not.
func (v *values) forks() []eth2.Fork {
	var forks []eth2.Fork
	for _, name := range forkNames() {
		versionKey, epochKey := v.forkKey(name, versionSuffix), v.forkKey(name, epochSuffix)
		epoch := eth2.FarFutureEpoch
		if name == eth2.ForkPhase0 {
			versionKey, epoch = "GENESIS"+versionSuffix, 0
		} else {
			epoch = eth2.Epoch(v.number(epochKey, uint64(epoch), 0, math.MaxUint64))
		}
		if !v.has(versionKey) {
			if epoch != eth2.FarFutureEpoch {
				v.fail(versionKey, "", fmt.Errorf("is missing, but %s begins at epoch %d", name, epoch))
			}
			continue
		}
		forks = append(forks, eth2.Fork{Name: name, Epoch: epoch, Version: v.version(versionKey)})
	}
	return forks
}

// forkKey is the key under which the file has a fork's value: that of its name, or of its
// old one. Where it has both they must agree.
func (v *values) forkKey(name, suffix string) string {
	key := strings.ToUpper(name) + suffix
	old, ok := oldForkNames()[name]
	if !ok || !v.has(old+suffix) {
		return key
	}
	if !v.has(key) {
		return old + suffix
	}
	text, _ := v.text(key)
	if oldText, _ := v.text(old + suffix); !strings.EqualFold(oldText, text) {
		v.fail(old+suffix, oldText, fmt.Errorf("contradicts %s, which is %s: both mean the fork %s", key, text, name))
	}
	return key
}

// version is a fork version. A plain number without 0x is refused: it can be decimal or
// hex, and as many digits fit both.
func (v *values) version(key string) (version eth2.Version) {
	text, _ := v.text(key)
	want := "want 4 bytes of hex, such as 0x05000000"
	n := v.nodes[key]
	prefixed := strings.HasPrefix(text, "0x")
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 && n.ShortTag() != "!!str" && !prefixed {
		if number, err := strconv.ParseUint(text, 10, 32); err == nil {
			want += fmt.Sprintf(" (%s in decimal is 0x%08x)", text, number)
		}
		v.fail(key, text, errors.New(want))
		return version
	}
	if err := version.UnmarshalText([]byte(text)); err != nil {
		v.fail(key, text, errors.New(want))
	}
	return version
}

// unknownForks fails for a fork that is scheduled and not understood, since every digest
// from then on would be wrong. It returns warnings about epochs without a version. Names
// that the file has at the far future are ignored: drafts have many.
func (v *values) unknownForks() (warnings []string) {
	var known []string
	for _, name := range forkNames() {
		known = append(known, strings.ToUpper(name), oldForkNames()[name])
	}
	for _, key := range slices.Sorted(maps.Keys(v.nodes)) {
		name, ok := strings.CutSuffix(key, epochSuffix)
		if !ok || slices.Contains(known, name) || !v.has(key) {
			continue
		}
		text, _ := v.text(key)
		if n, err := parseNumber(text); err == nil && eth2.Epoch(n) == eth2.FarFutureEpoch {
			continue
		}
		if !v.has(name + versionSuffix) {
			warnings = append(warnings, (&ValueError{File: v.file, Line: v.nodes[key].Line, Key: key, Value: text,
				Err: errors.New("is not used: the fork is unknown and has no " + name + versionSuffix)}).Error())
			continue
		}
		v.fail(key, text, fmt.Errorf("schedules a fork that this version of valtrack does not know: its digests would be wrong; "+
			"the forks are %s; update valtrack, or set the epoch to %d", strings.Join(forkNames(), ", "), uint64(eth2.FarFutureEpoch)))
	}
	return warnings
}

func compareForks(a, b eth2.Fork) int { return cmp.Compare(a.Epoch, b.Epoch) }
