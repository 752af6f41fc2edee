package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/discv5"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/eventlog"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/sentry"
)

// knowingMain runs a sentry that comes to know a list of records, prints a line when
// they are in its tables, and runs until it is stopped.
func knowingMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("knowing", flag.ContinueOnError)
	dir := flags.String("dir", "", "directory with the devnet's in devnet; gets the sentry's in sentry")
	file := flags.String("records", "", "file of lines with an ENR, a peer id and a node id")
	heap := flags.String("heap", "", "file for a heap profile at the end; none when empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	net, err := network.LoadFS(os.DirFS(filepath.Join(*dir, "devnet")), "")
	if err != nil {
		return err
	}
	net.Bootnodes = nil
	list, err := readRecords(*file)
	if err != nil {
		return err
	}
	return runKnowing(ctx, net, list, filepath.Join(*dir, "sentry"), *heap)
}

// readRecords reads what writeRecords has written, each string into memory of its own.
func readRecords(path string) ([]enr.Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []enr.Record
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var r enr.Record
		var id string
		if _, err := fmt.Sscan(lines.Text(), &r.Raw, &r.PeerID, &id); err != nil {
			return nil, err
		}
		if err := r.NodeID.UnmarshalText([]byte(id)); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, lines.Err()
}

// telling is a finder that emits a list of records as if it had just found them.
// The finder itself has them as Known: they are in its table, as found ones are.
type telling struct {
	*discv5.Finder
	list []enr.Record // of each Raw, NodeID and PeerID
}

// Run implements sentry.Finder.
func (f *telling) Run(ctx context.Context, found func(enr.Record)) error {
	for _, r := range f.list {
		// The finder's table and the receiver have the same Raw.
		r, err := enr.Restore(r.Raw, r.PeerID, r.NodeID)
		if err != nil {
			return err
		}
		found(r)
	}
	f.list = nil
	return f.Finder.Run(ctx, found)
}

// saveHeap writes a heap profile.
func saveHeap(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	runtime.GC()
	return errors.Join(pprof.WriteHeapProfile(f), f.Close())
}

// runKnowing builds the sentry as the command line does, with tables that have
// room for every record.
func runKnowing(ctx context.Context, net network.Network, list []enr.Record, dir, heap string) (err error) {
	log := slog.New(slog.DiscardHandler)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	id, err := sentry.LoadIdentity(dir)
	if err != nil {
		return err
	}
	local := sentry.NewLocal(net)
	listen := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	host, err := p2p.NewHost(p2p.Config{
		Key: id.Key, Listen: listen, Agent: "bench", MaxConnections: sentry.DefaultMaxConnections, AllowPrivate: true,
		Local: local, Inbound: local.Inbound, Log: log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	known := make([]string, len(list))
	for i, r := range list {
		known[i] = r.Raw
	}
	finder, err := discv5.New(discv5.Config{
		Key: id.Key, Listen: listen, TCPPort: host.TCPPort(), QUICPort: host.QUICPort(), Known: known,
		AllowPrivate: true, MaxNodes: len(list), Revisit: net.Clock.EpochDuration(), Log: log,
	})
	if err != nil {
		return err
	}
	defer finder.Close()
	events, err := eventlog.NewWriter(dir, id.ID, id.Boot, log)
	if err != nil {
		return err
	}
	store, err := sentry.OpenStore(dir, net, len(list), log)
	if err != nil {
		return err
	}
	defer store.Close()
	// One dialer: the memory of 64 attempts at dead addresses is not the table's.
	cfg := sentry.Config{CrawlerID: id.ID, Dialers: 1, MaxPeers: len(list), AllowPrivate: true, Store: store}
	s := sentry.New(cfg, local, host, &telling{finder, list}, events, log)
	want := len(list)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error { return announceKnown(ctx, s, finder, want) })
	g.Go(func() error {
		<-ctx.Done()
		return saveHeap(heap)
	})
	return errors.Join(g.Wait(), events.Close(context.WithoutCancel(ctx)))
}

// announceKnown prints a line when the tables hold want peers and nodes.
func announceKnown(ctx context.Context, s *sentry.Sentry, f *discv5.Finder, want int) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if st := s.Stats(); st.Table >= want && f.Nodes() >= want {
			fmt.Printf("%d records seen, %d peers in the sentry's table, %d nodes in discv5's\n", st.Records, st.Table, f.Nodes())
			return nil
		}
	}
}
