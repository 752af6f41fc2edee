package dataset

import (
	"os"

	"golang.org/x/sys/unix"
)

// exchange swaps two directories in one step (renameatx_np(2), RENAME_SWAP).
func exchange(a, b string) error {
	if err := unix.RenameatxNp(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_SWAP); err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return nil
}
