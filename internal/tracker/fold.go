package tracker

import (
	"strings"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
)

// fold turns the events of the open segment into drafts of their peers.
// It reads the committed peers and changes only itself.
type fold struct {
	committed map[string]*Peer // the tracker's
	// params are those of the tracker's model. Under another number of committees
	// statistics would mean something else.
	params estimate.Params

	drafts map[string]*draft
	// sentries are the tracker's, sentryDrafts their copies that the open segment changes.
	sentries, sentryDrafts map[string]*Sentry
	displaced              map[string]bool // the ids of sentries that the open segment forgets
	lastSentry             *Sentry         // of the drafts
	counts                 counts
	size                   int // roughly the memory of the drafts' open days, in bytes

	places *geo.Locator // nil for none

	clients  boundedCache[*client] // by agent string
	interner interner
	visits   boundedCache[string] // names of the counts of visits, by outcome
}

// maxFoldSize bounds fold.size, to which a day adds daySize and an event observationSize.
// Encoding the days after each event would cost more than everything else here.
const maxFoldSize, daySize, observationSize = 16 << 20, 512, 64

// newFold makes an empty fold. Without places peers have none.
func newFold(committed map[string]*Peer, sentries map[string]*Sentry, places *geo.Locator) *fold {
	return &fold{committed: committed, drafts: map[string]*draft{}, sentries: sentries, sentryDrafts: map[string]*Sentry{}, displaced: map[string]bool{}, counts: counts{}, places: places}
}

// placesVersion is that of the databases of places, plus 1; 0 without places.
func (f *fold) placesVersion() uint64 {
	if f.places == nil {
		return 0
	}
	return f.places.Version() + 1
}

// place is that of a multiaddr; nil where it is not known.
func (f *fold) place(multiaddr string) *geo.Place {
	if f.places == nil {
		return nil
	}
	p, _ := f.places.FindMultiaddr(multiaddr)
	return p
}

// add folds one event, and keeps nothing of its memory.
func (f *fold) add(e event.Event) {
	_, id := ofEvent(e)
	f.countSentry(e)
	d := f.draft(id)
	switch e := e.(type) {
	case *event.PeerDiscovered:
		d.discovered(f, e)
	case *event.MetadataReceived:
		d.handshake(f, e)
	case *event.VisitEnded:
		d.visitEnded(f, e)
	}
	f.counts.add(e, &f.visits)
	if f.size += observationSize; f.size > maxFoldSize {
		f.encodeDrafts()
	}
}

// reset forgets the drafts and counts.
func (f *fold) reset() {
	clear(f.drafts)
	clear(f.sentryDrafts)
	clear(f.displaced)
	f.lastSentry = nil
	f.size, f.counts = 0, counts{}
}

// encodeDrafts encodes the drafts' open days.
func (f *fold) encodeDrafts() {
	var space []byte
	for _, d := range f.drafts {
		space = d.encodeDays(space)
	}
	f.size = 0
}

// dropStatistics forgets the drafts' statistics.
func (f *fold) dropStatistics() {
	for _, d := range f.drafts {
		d.days, d.openDays, d.Duties, d.Watched = nil, nil, nil, nil
	}
	f.size = 0
}

func (f *fold) draft(id string) *draft {
	d := f.drafts[id]
	if d != nil {
		return d
	}
	d = &draft{}
	if p := f.committed[id]; p != nil {
		d.Peer = *p
	} else {
		d.Peer = Peer{ID: strings.Clone(id)}
	}
	f.drafts[d.ID] = d
	return d
}

// client is what an agent string says.
type client struct {
	eth2.Client
	key *eth2.Client // under which statistics are kept
}

func (f *fold) client(agent string) *client {
	return f.clients.get(agent, func(agent string) *client {
		c := eth2.ParseAgent(agent)
		return &client{c, new(clientOf(c))}
	})
}

// clientOf is the part of a client that statistics are kept by.
func clientOf(c eth2.Client) eth2.Client { return eth2.Client{Kind: c.Kind, Version: c.Version} }

func ofEvent(e event.Event) (event.Common, string) {
	switch e := e.(type) {
	case *event.PeerDiscovered:
		return e.Common, e.ID
	case *event.MetadataReceived:
		return e.Common, e.ID
	case *event.VisitEnded:
		return e.Common, e.ID
	}
	return event.Common{}, ""
}
