//go:build !race

package watch

const slowness = 1
