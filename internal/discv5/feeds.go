package discv5

import (
	"context"
	"log/slog"
	"strings"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// knownRecord is a record of an earlier run.
type knownRecord struct {
	text string
	node *enode.Node
}

// feedKnown sends the records of Config.Known to the crawl. They are checked like any other: one
// that fails is left out.
func (f *Finder) feedKnown(ctx context.Context, known chan<- knownRecord) {
	bad := 0
	texts := f.cfg.Known
	f.cfg.Known = nil // a long list, not needed any more
	for _, text := range texts {
		n, err := enode.Parse(f.schemes, text)
		if err != nil || !strings.HasPrefix(text, "enr:") { // an enode URL has no signature
			bad++
			continue
		}
		select {
		case known <- knownRecord{text, n}:
		case <-ctx.Done():
			return
		}
	}
	if bad > 0 {
		f.cfg.Log.Warn("skipping damaged records of an earlier run", slog.Int("records", bad))
	}
}
