package cli

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// Signals that come with the first one, as those of a process group, do not end the process:
// this one would be gone.
func TestSignalsThatComeTogether(t *testing.T) {
	ctx, stop := untilSignal(t.Context(), time.Hour)
	defer stop()
	for range 3 {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			if err := syscall.Kill(os.Getpid(), sig); err != nil {
				t.Fatal(err)
			}
			<-ctx.Done()
			time.Sleep(10 * time.Millisecond) // for what follows the end of ctx
		}
	}
}
