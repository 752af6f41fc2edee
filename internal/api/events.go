package api

import (
	"net/http"
	"time"
)

// pingEvery is the time between two comments that keep a stream open.
const pingEvery = 15 * time.Second

// appendEvent appends a server-sent event. The data are JSON, in one line.
func appendEvent(b []byte, name string, data []byte) []byte {
	b = append(b, "event: "...)
	b = append(b, name...)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

// streamEvents answers /api/v1/events: a summary at once and with each view, and what changed.
func streamEvents(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	if r.Method == http.MethodHead {
		return answer{contentType: typeEvents}, nil
	}
	release, p := acquire(s.limits.streams, "event streams")
	if p != nil {
		return answer{}, p
	}
	full := r.caller.full
	return answer{serve: func(w http.ResponseWriter, r *http.Request) {
		defer release()
		s.stats.stream(1)
		defer s.stats.stream(-1)
		h := w.Header()
		h.Set("Content-Type", typeEvents)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // a proxy would hold events back
		s.stream(w, r, full)
	}}, nil
}

// stream writes events until the client or the server stops. A client that does not read
// blocks its own stream only, until the deadline; it is sent the newest view then, and the
// changes that are still kept.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, full bool) {
	control := http.NewResponseController(w)
	send := func(data []byte) bool {
		if _, err := w.Write(data); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	number := s.views.changes.end()
	updated := s.views.changes.next()
	if !send(s.views.current.Load().event) {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case <-ping.C:
			if !send([]byte(": still here\n\n")) {
				return
			}
		case <-updated:
			updated = s.views.changes.next()
			var changes []change
			changes, number = s.views.changes.after(number)
			data := s.views.current.Load().event
			for _, c := range changes {
				data = appendEvent(data[:len(data):len(data)], "change", marshal(c.forCaller(full)))
			}
			if !send(data) {
				return
			}
		}
	}
}
