//go:build race

package watch

// slowness stretches the slots: the race detector costs most of the machine.
const slowness = 2
