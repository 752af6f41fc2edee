package cli

import (
	"fmt"
	"syscall"
	"testing"
)

// A full disk is nobody's mistake: a supervisor is to try again.
func TestExitCodeOfAFullDisk(t *testing.T) {
	for want, err := range map[int]error{
		exitFailed: usagef("--data-dir: %w", fmt.Errorf("write: %w", syscall.ENOSPC)),
		exitUsage:  usagef("--data-dir: %w", syscall.EACCES),
	} {
		if got := ExitCode(err); got != want {
			t.Errorf("%v: exit code %d, want %d", err, got, want)
		}
	}
}
