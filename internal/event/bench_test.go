package event

import (
	"slices"
	"testing"
	"time"
)

func BenchmarkEncode(b *testing.B) {
	for name, e := range samples() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Encode(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecode compares DecodeString with encoding/json, validation included on both
// sides.
func BenchmarkDecode(b *testing.B) {
	for name, e := range samples() {
		data := wire(e)
		text := string(data)
		b.Run(name, func(b *testing.B) {
			compare(b, func() error {
				_, err := DecodeString(e.Subject(), text)
				return err
			}, func() error {
				_, err := reference(e.Subject(), data)
				return err
			})
		})
	}
}

// compare runs both in turn, a block at a time, so that whatever else the machine
// does slows both, and reports medians.
func compare(b *testing.B, fast, std func() error) {
	const block = 100
	run := func(f func() error) float64 {
		began := time.Now()
		for range block {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		return float64(time.Since(began).Nanoseconds()) / block
	}
	var fasts, stds []float64
	for range b.N {
		fasts, stds = append(fasts, run(fast)), append(stds, run(std))
	}
	slices.Sort(fasts)
	slices.Sort(stds)
	f, s := fasts[len(fasts)/2], stds[len(stds)/2]
	b.ReportMetric(0, "ns/op") // of a block, which says nothing
	b.ReportMetric(f, "fast-ns")
	b.ReportMetric(s, "std-ns")
	b.ReportMetric(s/f, "std/fast")
}
