package tracker

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

// start is epoch 0 of the tests' network.
var start = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func params() estimate.Params {
	return estimate.Params{Clock: eth2.Clock{Genesis: start, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}, Preset: eth2.MainnetPreset(), ActiveValidators: 950_000}
}

func config(dir string) Config {
	return Config{Dir: dir, Network: "testnet", Params: params(), Log: slog.New(slog.DiscardHandler)}
}

// crawl makes the events of a crawl.
type crawl struct {
	*rand.Rand
	visits int
	agents []string // of the peers in turn
}

const (
	lighthouse = "Lighthouse/v8.0.1-abcdef0/x86_64-linux"
	prysm      = "Prysm/v7.0.0/abcdef"
	teku       = "teku/teku/v26.8.0/linux-x86_64/-x"
	nimbus     = "nimbus"
)

func newCrawl(seed uint64) *crawl {
	return &crawl{Rand: rand.New(rand.NewPCG(seed, 1)), agents: []string{lighthouse, prysm, teku, nimbus, "erigon/caplin"}}
}

// mixed are twenty nodes' agents, about as the network has them.
func mixed() []string {
	return []string{
		lighthouse, prysm, lighthouse, teku, lighthouse, nimbus, lighthouse, prysm, lighthouse, "lodestar/v1.44.0", lighthouse,
		prysm, teku, lighthouse, nimbus, lighthouse, "Grandine/2.0.1", prysm, lighthouse, "erigon/caplin",
	}
}

func common(at time.Time) event.Common {
	return event.Common{Network: "testnet", CrawlerID: "c", CrawlerLocation: "here", Timestamp: at.UnixMilli()}
}

func peerID(i int) string { return fmt.Sprintf("16Uiu2HAm%040d", i) }

func (c *crawl) agent(i int) string {
	return c.agents[i%len(c.agents)]
}

func (c *crawl) discovered(i int, at time.Time) *event.PeerDiscovered {
	digest := eth2.ForkDigest{1, 2, 3, 4}
	cgc := uint64(4)
	return &event.PeerDiscovered{Common: common(at), ENR: fmt.Sprintf("enr:-%0200d", i), ID: peerID(i), NodeID: eth2.NodeID{byte(i), byte(i >> 8), 1},
		Seq: 1, IP: "192.0.2.1", Port: 9000, ForkDigest: &digest, CustodyGroupCount: &cgc}
}

// visit is one visit of peer i: its handshake and its end, with a watch of so many
// epochs.
func (c *crawl) visit(i int, at time.Time, epochs int) []event.Event {
	c.visits++
	cgc, syncnets := uint64(8), eth2.Syncnets(0)
	long := eth2.NewAttnets([]int{i % 64, (i + 1) % 64})
	subscribed := []int{i % 64, (i + 1) % 64}
	if c.IntN(3) == 0 {
		subscribed = append(subscribed, (i+7)%64)
	}
	id := fmt.Sprintf("c-1-%d", c.visits)
	h := &event.MetadataReceived{
		Common: common(at), ENR: fmt.Sprintf("enr:-%0200d", i), ID: peerID(i), Multiaddr: fmt.Sprintf("/ip4/10.%d.%d.%d/udp/9001/quic-v1", i>>16, i>>8&255, i&255),
		Epoch: params().Clock.EpochAt(at), MetaData: &event.MetaData{SeqNumber: 1, Attnets: long, Syncnets: &syncnets, CustodyGroupCount: &cgc},
		SubscribedSubnets: subscribed, ClientVersion: c.agent(i), VisitID: id, Direction: event.Outbound, Transport: event.QUIC,
	}
	from := at.Add(300 * time.Millisecond)
	end := from
	v := &event.VisitEnded{VisitID: id, ID: peerID(i), Direction: event.Outbound, Transport: event.QUIC, Started: at.UnixMilli(),
		Outcome: event.OutcomeOK, ClientVersion: c.agent(i)}
	if epochs > 0 {
		end = from.Add(time.Duration(epochs) * params().Clock.EpochDuration())
		v.Watch = &event.Watch{From: from.UnixMilli(), To: end.UnixMilli(), Initial: subscribed}
		for ms := int64(0); ms < end.Sub(from).Milliseconds()-60_000; ms += 20_000 + c.Int64N(90_000) {
			subnet := int64(c.IntN(64))
			v.Watch.Changes = append(v.Watch.Changes, event.SubnetChange{At: ms, Subnet: int(subnet), Subscribed: true}, event.SubnetChange{At: ms + 15_000, Subnet: int(subnet)})
		}
		if c.IntN(4) == 0 {
			v.Watch.MetaDataChanges = []event.WatchMetaData{{At: 5000, MetaData: event.MetaData{SeqNumber: 2, Attnets: eth2.NewAttnets([]int{3, 4})}}}
		}
	}
	v.Ended, v.Common = end.UnixMilli()+1, common(end.Add(time.Millisecond))
	return []event.Event{h, v}
}

// events are a crawl of so many peers in the order in which they come.
func (c *crawl) events(peers, visits int, from time.Time, every time.Duration) (all []event.Event) {
	for i := range peers {
		all = append(all, c.discovered(i, from.Add(-time.Minute)))
	}
	for range visits {
		for i := range peers {
			all = append(all, c.visit(i, from.Add(time.Duration(i)*time.Second), c.IntN(3))...)
		}
		from = from.Add(every)
	}
	return all
}
