//go:build linux || darwin

package diskio

import (
	"fmt"
	"math"
	"os"
	"syscall"
)

// Free is how many bytes a process without privileges can still write to the disk that
// path is on.
func Free(path string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, fmt.Errorf("free space: %w", &os.PathError{Op: "statfs", Path: path, Err: err})
	}
	if free := s.Bavail * uint64(s.Bsize); free < math.MaxInt64 {
		return int64(free), nil
	}
	return math.MaxInt64, nil
}
