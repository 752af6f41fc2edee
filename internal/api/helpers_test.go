package api

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"github.com/chainbound/valtrack/internal/tracker"
)

func noState() *tracker.State { return nil }

func gunzip(t testing.TB, data []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
