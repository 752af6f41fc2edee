// Package api serves what the tracker and the datasets know over HTTP, as openapi.yaml says.
// Handlers read immutable views of the tracker's State, and never hold up ingest.
package api
