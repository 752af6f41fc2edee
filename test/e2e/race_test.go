//go:build race

package e2e

// The race detector costs most of the machine: fewer nodes with longer slots.
const (
	raceEnabled = true
	mixedNodes  = 80
	mixedSlot   = "1s"
)
