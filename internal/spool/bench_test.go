package spool

import "testing"

// BenchmarkPublish is what a visit waits for.
func BenchmarkPublish(b *testing.B) {
	s, err := Open(Config{Dir: b.TempDir(), Sentry: "s", Boot: 1, Log: discardLog()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	e := discovered(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Publish(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}
