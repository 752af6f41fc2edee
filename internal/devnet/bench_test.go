package devnet

import (
	"fmt"
	"log/slog"
	"testing"
)

// BenchmarkStart starts and closes whole networks.
func BenchmarkStart(b *testing.B) {
	for _, nodes := range []int{30, 300, 1000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			for b.Loop() {
				d, err := Start(b.Context(), Config{Nodes: nodes, Seed: 1}, slog.New(slog.DiscardHandler))
				if err != nil {
					b.Fatal(err)
				}
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
