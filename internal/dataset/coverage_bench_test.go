package dataset

import "testing"

// everyOther has n keys that are no neighbours.
func everyOther(first uint64, n int) Coverage {
	runs := make([]Interval, n)
	for i := range runs {
		runs[i] = Interval{first + 2*uint64(i), first + 2*uint64(i)}
	}
	return Coverage{"s-1": runs}
}

// BenchmarkInterleaved is what a commit computes when a consumer older than its sentries
// rejects every other event: 120 000 rejected ones between 120 000 that are stored.
func BenchmarkInterleaved(b *testing.B) {
	stored, rejected := everyOther(2, 120_000), everyOther(3, 120_000)
	b.Run("missing", func(b *testing.B) {
		for b.Loop() {
			if n := stored.Missing(rejected)["s"]; n != 1 {
				b.Fatal(n)
			}
		}
	})
	b.Run("merge", func(b *testing.B) {
		for b.Loop() {
			all := Coverage{}
			all.Merge(stored)
			all.Merge(rejected)
			if len(all["s-1"]) != 1 {
				b.Fatal(len(all["s-1"]))
			}
		}
	})
	b.Run("commit", func(b *testing.B) { // 1000 more keys at the end
		for b.Loop() {
			b.StopTimer()
			all := Coverage{}
			all.Merge(stored)
			more := everyOther(240_002, 1000)
			b.StartTimer()
			all.Merge(more)
		}
	})
	b.Run("overlap", func(b *testing.B) {
		for b.Loop() {
			if n := stored.overlap(rejected); n != 0 {
				b.Fatal(n)
			}
		}
	})
}
