package discv5

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/netutil"

	"github.com/chainbound/valtrack/internal/discv5/wire"
)

// maxAnswerPackets is how many packets of one answer are read: bucketSize records, one
// per packet.
const maxAnswerPackets = bucketSize

// refusals counts the records of answers that were refused, by reason.
type refusals struct {
	encoding  int // not a record
	signature int // or an identity scheme that is not known
	distance  int // none of those that were asked for
	address   int // one that the node cannot know of, such as a private one from afar
}

// answer collects the packets of an answer to FINDNODE. A record that is refused does
// not cost the others.
type answer struct {
	from      enode.ID
	addr      netip.Addr
	distances []uint
	schemes   *verified

	nodes   []*enode.Node // one per node, with the highest seq
	refused refusals
	packets int
	total   uint64 // packets according to the node
	records int    // valid or not
}

// add reads a packet and reports whether it is the last.
func (a *answer) add(m *wire.Nodes) (last bool) {
	a.packets++
	a.total = max(a.total, m.Total)
	// A full bucket for each distance is all that a node can have.
	room := max(0, bucketSize*len(a.distances)-a.records)
	a.records += len(m.Raw)
	m.Raw = m.Raw[:min(room, len(m.Raw))]
	for _, raw := range m.Raw {
		a.addRecord(raw)
	}
	return uint64(a.packets) >= min(a.total, maxAnswerPackets)
}

func (a *answer) addRecord(raw []byte) {
	n, err := a.schemes.node(raw)
	switch {
	case errors.Is(err, errNoRecord):
		a.refused.encoding++
	case err != nil:
		a.refused.signature++
	case !slices.Contains(a.distances, uint(enode.LogDist(a.from, n.ID()))):
		a.refused.distance++
	case netutil.CheckRelayAddr(a.addr, n.IPAddr()) != nil:
		a.refused.address++
	default:
		at := slices.IndexFunc(a.nodes, func(known *enode.Node) bool { return known.ID() == n.ID() })
		if at < 0 {
			a.nodes = append(a.nodes, n)
		} else if a.nodes[at].Seq() < n.Seq() {
			a.nodes[at] = n
		}
	}
}

// cut reports whether the node may have more records than the answer has: packets are
// missing, or it has as many records as nodes put into an answer.
func (a *answer) cut() bool {
	return uint64(a.packets) < max(1, a.total) || a.records >= bucketSize
}
