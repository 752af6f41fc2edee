// Package api serves what the tracker and the datasets know over HTTP, as openapi.yaml says.
//
// Handlers (routes.go lists them) read immutable views of the tracker's State, which a
// goroutine builds when the State changes (view.go), and files of the datasets. They never
// hold up ingest. A handler returns an answer or a problem; route.go writes it, limits.go,
// slots.go and conns.go bound who may ask for how much, keys.go says who sees addresses.
//
// What differs between two views is a change (changes.go). Changes are numbered (changelog.go) and
// are all that the room writes to the data directory (changefile.go). Pages of a list are of one
// view (pins.go).
package api
