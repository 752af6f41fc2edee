package event

// ReadFast is readFast for tests that import eventtest, which imports this package: with the
// position of what is not in Encode's form.
func ReadFast(text string, into Event) (fast bool, at int) {
	s := newScanner(text)
	s.event(into)
	return s.end(), s.at
}
