package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/discv5"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/sentry"
)

// knowingMain runs a sentry that has a list of records as bootnodes, prints a line
// when they are in its table, and runs until it is stopped.
func knowingMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("knowing", flag.ContinueOnError)
	dir := flags.String("dir", "", "directory with the devnet's in devnet; gets the sentry's in sentry")
	file := flags.String("records", "", "file of ENRs, one a line")
	heap := flags.String("heap", "", "file for a heap profile at the end; none when empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	net, err := network.LoadFS(os.DirFS(filepath.Join(*dir, "devnet")), "")
	if err != nil {
		return err
	}
	net.Bootnodes = strings.Split(string(text), "\n")
	return runKnowing(ctx, net, filepath.Join(*dir, "sentry"), *heap)
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
func runKnowing(ctx context.Context, net network.Network, dir, heap string) (err error) {
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
	finder, err := discv5.New(discv5.Config{
		Key: id.Key, Listen: listen, TCPPort: host.TCPPort(), QUICPort: host.QUICPort(), Bootnodes: net.Bootnodes,
		AllowPrivate: true, MaxNodes: len(net.Bootnodes), Revisit: net.Clock.EpochDuration(), Log: log,
	})
	if err != nil {
		return err
	}
	defer finder.Close()
	events, err := bus.NewFileLog(dir, id.ID, id.Boot, log)
	if err != nil {
		return err
	}
	store, err := sentry.OpenStore(dir, net, len(net.Bootnodes), log)
	if err != nil {
		return err
	}
	defer store.Close()
	// One dialer: the memory of 64 attempts at dead addresses is not the table's.
	cfg := sentry.Config{CrawlerID: id.ID, Dialers: 1, MaxPeers: len(net.Bootnodes), AllowPrivate: true, Store: store}
	s := sentry.New(cfg, local, host, finder, events, log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error { return announceKnown(ctx, s, len(net.Bootnodes)) })
	g.Go(func() error {
		<-ctx.Done()
		return saveHeap(heap)
	})
	return errors.Join(g.Wait(), events.Close(context.WithoutCancel(ctx)))
}

// announceKnown prints a line when the table holds want peers.
func announceKnown(ctx context.Context, s *sentry.Sentry, want int) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if st := s.Stats(); st.Table >= want {
			// What reading them all at once has left behind is not the table's.
			debug.FreeOSMemory()
			fmt.Printf("%d records seen, %d peers in the table\n", st.Records, st.Table)
			return nil
		}
	}
}
