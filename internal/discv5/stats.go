package discv5

import "sync/atomic"

// Stats are counts since the start.
type Stats struct {
	Nodes    int   // known now, at most Config.MaxNodes
	Requests int64 // FINDNODE
	Records  int64 // valid ones, in the answers
	// Refused are the records in answers that were refused, by reason: encoding,
	// signature, distance and address.
	Refused map[string]int64
}

// refusalCounters are the sum of the refusals of all answers.
type refusalCounters struct{ encoding, signature, distance, address atomic.Int64 }

// count adds a request and its answer to the counts.
func (f *Finder) count(a *answer) {
	f.requests.Add(1)
	f.records.Add(int64(len(a.nodes)))
	f.refused.encoding.Add(int64(a.refused.encoding))
	f.refused.signature.Add(int64(a.refused.signature))
	f.refused.distance.Add(int64(a.refused.distance))
	f.refused.address.Add(int64(a.refused.address))
}

// Stats may be called from any goroutine.
func (f *Finder) Stats() Stats {
	return Stats{
		Nodes: f.Nodes(), Requests: f.requests.Load(), Records: f.records.Load(),
		Refused: map[string]int64{
			"encoding":  f.refused.encoding.Load(),
			"signature": f.refused.signature.Load(),
			"distance":  f.refused.distance.Load(),
			"address":   f.refused.address.Load(),
		},
	}
}
