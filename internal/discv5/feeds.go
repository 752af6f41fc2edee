package discv5

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// recalled is a record of an earlier run.
type recalled struct {
	text string
	node *enode.Node
}

// recall feeds the records of Config.Known. They are checked like any other: one
// that fails is left out.
func (f *Finder) recall(ctx context.Context, known chan<- recalled) {
	bad := 0
	texts := f.cfg.Known
	f.cfg.Known = nil // a long list, of no more use
	for _, text := range texts {
		n, err := enode.Parse(f.schemes, text)
		if err != nil || !strings.HasPrefix(text, "enr:") { // an enode URL has no signature
			bad++
			continue
		}
		select {
		case known <- recalled{text, n}:
		case <-ctx.Done():
			return
		}
	}
	if bad > 0 {
		f.cfg.Log.Warn("records of an earlier run are damaged and left out", slog.Int("records", bad))
	}
}

// walk feeds the nodes of random lookups until ctx ends.
func (f *Finder) walk(ctx context.Context, walked chan<- *enode.Node) {
	it := f.udp.RandomNodes()
	defer context.AfterFunc(ctx, it.Close)()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for it.Next() {
		select {
		case walked <- it.Node():
		case <-ctx.Done():
			return
		}
		pause.Reset(walkPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}
