package consumer

import (
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
)

// NewImporter takes the events of other data directories into the writer's, as if their
// messages had come: what is derived from them is derived here. places may be nil.
func NewImporter(w *dataset.Writer, places *geo.Locator) *dataset.Importer {
	in := &ingest{Consumer: &Consumer{writer: w}, enrichers: Enrichers()}
	if places != nil {
		in.enrichers = append(in.enrichers, &placeColumns{places, &in.places})
	}
	return dataset.NewImporter(w, func(row dataset.EventRow, e event.Event) error { return in.store(e, row.ClockErr()) })
}
