package sentry

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
	"go.uber.org/goleak"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitLong is the deadline of tests that wait for a condition, not a bound on speed.
const waitLong = 60 * time.Second

// testNetwork has 12 s slots, 32 slots an epoch, one fork at epoch 0 and, when
// forkAt is not 0, a second there.
func testNetwork(t testing.TB, genesis time.Time, forkAt eth2.Epoch) network.Network {
	t.Helper()
	forks := []eth2.Fork{{Name: "phase0", Version: eth2.Version{1}}}
	if forkAt != 0 {
		forks = append(forks, eth2.Fork{Name: "altair", Version: eth2.Version{2}, Epoch: forkAt})
	}
	schedule, err := eth2.NewSchedule(eth2.Root{7}, forks, nil, 9)
	if err != nil {
		t.Fatal(err)
	}
	return network.Network{
		Name: "testnet", GenesisTime: genesis, Schedule: schedule,
		Clock: eth2.Clock{Genesis: genesis, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32},
	}
}

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// testRecord is a record of peer n with our digest, listening on 127.0.0.1:port.
func testRecord(net network.Network, id string, seq uint64, port uint16) *enr.Record {
	return testRecordAt(net.Schedule.Periods[0].Digest, id, seq, port, port+1)
}

// testRecordAt is a record with the digest and ports, and padding. It is signed by
// nobody, and its ids are made up.
func testRecordAt(digest eth2.ForkDigest, id string, seq uint64, tcp, quic uint16, padding ...byte) *enr.Record {
	var r gethenr.Record
	r.SetSeq(seq)
	for _, e := range []gethenr.Entry{
		gethenr.IPv4(net.IPv4(127, 0, 0, 1)), gethenr.UDP(tcp), gethenr.TCP(tcp), enr.QUICEntry(quic),
		enr.Eth2Entry(eth2.ENRForkID{ForkDigest: digest, NextForkEpoch: eth2.FarFutureEpoch}),
	} {
		r.Set(e)
	}
	if len(padding) > 0 {
		r.Set(gethenr.WithEntry("padding", padding))
	}
	return signedAs(&r, id)
}

// signedAs is the record of a peer, signed by nobody.
func signedAs(r *gethenr.Record, id string) *enr.Record {
	if err := r.SetSig(anySignature{}, []byte(id)); err != nil {
		panic(err)
	}
	raw, err := rlp.EncodeToBytes(r)
	if err != nil {
		panic(err)
	}
	record, err := enr.Restore("enr:"+base64.RawURLEncoding.EncodeToString(raw), id, eth2.NodeID{1})
	if err != nil {
		panic(err)
	}
	return &record
}

// anySignature is an identity scheme that takes every signature.
type anySignature struct{}

func (anySignature) Verify(*gethenr.Record, []byte) error { return nil }
func (anySignature) NodeAddr(*gethenr.Record) []byte      { return nil }

// published collects events.
type published struct {
	mu      sync.Mutex
	events  []event.Event
	changed chan struct{}
}

func newPublished() *published { return &published{changed: make(chan struct{}, 1)} }

func (p *published) Publish(ctx context.Context, e event.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	p.events = append(p.events, e)
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
	return nil
}

// eventsOf lists the events of one type.
func eventsOf[E event.Event](p *published) (list []E) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

// waitFor returns when cond holds after some event; the test fails at the deadline.
func (p *published) waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(waitLong)
	defer deadline.Stop()
	for !cond() {
		select {
		case <-p.changed:
		case <-deadline.C:
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// testFinder emits the records that it is given.
type testFinder struct {
	records chan enr.Record
	mu      sync.Mutex
	forks   []eth2.ENRForkID
}

func newTestFinder() *testFinder { return &testFinder{records: make(chan enr.Record)} }

func (f *testFinder) Run(ctx context.Context, found func(enr.Record)) error {
	for {
		select {
		case r := <-f.records:
			found(r)
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *testFinder) SetFork(id eth2.ENRForkID, _ eth2.ForkDigest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forks = append(f.forks, id)
}

func (f *testFinder) digests() (list []eth2.ForkDigest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range f.forks {
		list = append(list, id.ForkDigest)
	}
	return list
}
