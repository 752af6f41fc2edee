//go:build !linux && !darwin

package dataset

import (
	"errors"
	"os"
)

// exchange cannot swap two directories in one step here.
func exchange(a, b string) error {
	return &os.LinkError{Op: "exchange", Old: a, New: b, Err: errors.ErrUnsupported}
}
