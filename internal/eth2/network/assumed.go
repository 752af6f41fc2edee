package network

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

const (
	assumedFile    = "valtrack.yaml"
	maxAssumedSize = 1 << 16
	maxValidators  = 1 << 40 // VALIDATOR_REGISTRY_LIMIT
)

// Assumed is the number of active validators to use while no better source is available: an
// assumption, not a measurement. The zero value assumes nothing.
type Assumed struct {
	ActiveValidators uint64
	Month            string // of the assumption, such as 2026-11
}

// readAssumed reads valtrack.yaml. Published directories have no such file: then the
// embedded network of the same name says it, and of any other network nothing is assumed.
func readAssumed(fsys fs.FS, name string) (Assumed, error) {
	data, err := readFile(fsys, assumedFile, maxAssumedSize)
	if errors.Is(err, fs.ErrNotExist) && slices.Contains(Names(), name) {
		data, err = readFile(embedded, networksDir+"/"+name+"/"+assumedFile, maxAssumedSize)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Assumed{}, nil
	}
	if err != nil {
		return Assumed{}, err
	}
	return parseAssumed(data)
}

func parseAssumed(data []byte) (Assumed, error) {
	const validators, month = "assumed_active_validators", "assumed_in"
	v, err := parseValues(assumedFile, data)
	if err != nil {
		return Assumed{}, err
	}
	if !v.has(validators) {
		v.fail(validators, "", errors.New("is missing"))
	}
	a := Assumed{ActiveValidators: v.number(validators, 0, 1, maxValidators)}
	a.Month, _ = v.text(month)
	if _, err := time.Parse("2006-01", a.Month); err != nil {
		v.fail(month, a.Month, fmt.Errorf("want a year and month such as 2026-11"))
	}
	return a, v.err
}
