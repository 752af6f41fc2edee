// Package api serves what the tracker and the datasets know over HTTP, as openapi.yaml says.
//
// Handlers (routes.go lists them) read immutable views of the tracker's State, which a
// goroutine builds when the State changes (view.go), and files of the datasets. They never
// hold up ingest. A handler returns an answer or a problem; route.go writes it, limits.go
// bounds who may ask for how much, keys.go says who sees addresses.
package api
