package estimate

import "slices"

// Seal gives back the room that Statistics keep for more, at the end of their day. Each
// span stays where it is, so that what comes late, of another crawler, is known for what
// is in already.
func (s *Statistics) Seal() {
	for i := range s.readings {
		s.readings[i].runs = slices.Clip(s.readings[i].runs)
	}
}
