//go:build !race

package e2e

const (
	raceEnabled = false
	mixedNodes  = 200
	mixedSlot   = "500ms"
)
