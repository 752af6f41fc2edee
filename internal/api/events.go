package api

import (
	"bytes"
	"net/http"
	"time"
)

// pingEvery is the time between two comments that keep a stream open.
const pingEvery = 15 * time.Second

// eventSummary is how the event with a summary begins.
const eventSummary = "event: summary\n"

// appendEvent appends a server-sent event. The data are JSON, in one line.
func appendEvent(b []byte, name string, data []byte) []byte {
	b = append(b, "event: "...)
	b = append(b, name...)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

const (
	// streamTime is after how long a stream ends: browsers open it again, and go on where it ended.
	streamTime = time.Hour
	// streamBatch is how many changes are written at once.
	streamBatch = 500
)

// streamEvents answers /api/v1/events: a summary at once and with each view, and what changed. A
// client that names the last event that it has (Last-Event-ID) is sent the changes since then.
func streamEvents(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	if r.Method == http.MethodHead {
		return answer{contentType: typeEvents}, nil
	}
	number, lost := s.views.changes.last(), false
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		n, valid, kept := s.views.changes.number(id)
		if lost = !valid || !kept; !lost {
			number = n
		}
	}
	release, p := s.limits.streams.acquire(r.Context(), r.client)
	if p != nil {
		return answer{}, p
	}
	stream := eventStream{server: s, full: r.caller.full, number: number, lost: lost}
	return answer{release: release, serve: func(w http.ResponseWriter, r *http.Request) {
		s.stats.stream(1)
		defer s.stats.stream(-1)
		h := w.Header()
		h.Set("Content-Type", typeEvents)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // a proxy would hold events back
		stream.run(w, r)
	}}, nil
}

// eventStream is one client's.
type eventStream struct {
	server *Server
	full   bool
	number int64 // of the last change that was sent
	lost   bool  // changes are missing before it
}

// run writes events until the client or the server stops. A client that does not read
// blocks its own stream only, until the deadline; it is sent the newest view then, and the
// changes that are still kept.
func (e *eventStream) run(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	send := func(data []byte) bool {
		if _, err := w.Write(data); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	ping, end := time.NewTicker(pingEvery), time.NewTimer(streamTime)
	defer ping.Stop()
	defer end.Stop()
	v := e.server.views
	if e.lost && !send([]byte(eventReset)) {
		return
	}
	summary, _ := bytes.CutPrefix(v.current.Load().event, []byte(eventSummary))
	if !send(append([]byte(eventSummary+"id: "+v.changes.cursor(e.number)+"\n"), summary...)) {
		return
	}
	for first := true; ; first = false {
		updated := v.changes.next()
		if !first && !send(v.current.Load().event) || !e.sendChanges(send) {
			return
		}
		for waiting := true; waiting; {
			select {
			case <-r.Context().Done():
				return
			case <-end.C:
				return
			case <-ping.C:
				if !send([]byte(": still here\n\n")) {
					return
				}
			case <-updated:
				waiting = false
			}
		}
	}
}

// sendChanges sends those that were not sent yet.
func (e *eventStream) sendChanges(send func([]byte) bool) bool {
	l := e.server.views.changes
	for e.number < l.last() {
		var data []byte
		if data, e.number = l.eventsAfter(e.number, streamBatch, e.full); !send(data) {
			return false
		}
	}
	return true
}
