package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	mplex "github.com/libp2p/go-libp2p-mplex"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/p2p"
)

const (
	floorWorkers = 64
	// floorPatience bounds one peer: what go-libp2p gives a dial by default.
	floorPatience = 5 * time.Second
)

// floorResult is what the floor client prints, as JSON.
type floorResult struct {
	Handshakes int           `json:"handshakes"`
	Wall       time.Duration `json:"wall_ns"` // from main to the last handshake
	CPU        time.Duration `json:"cpu_ns"`  // of the process, until then
}

// floorMain dials every node of the network once and ends.
func floorMain(ctx context.Context, args []string) error {
	started := time.Now()
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	dir := flags.String("dir", "", "the devnet's directory")
	digestText := flags.String("digest", "", "its fork digest")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var digest eth2.ForkDigest
	if err := digest.UnmarshalText([]byte(*digestText)); err != nil {
		return err
	}
	nodes, err := loadTruth(*dir)
	if err != nil {
		return err
	}
	h, err := floorHost()
	if err != nil {
		return err
	}
	serveFloor(h, digest)
	result := visitAll(ctx, h, nodes, digest, started)
	return errors.Join(json.NewEncoder(os.Stdout).Encode(result), h.Close())
}

// floorHost is a go-libp2p host with what consensus clients speak and nothing else.
func floorHost() (host.Host, error) {
	key, _, err := crypto.GenerateSecp256k1Key(nil)
	if err != nil {
		return nil, err
	}
	return libp2p.New(
		libp2p.Identity(key), libp2p.UserAgent("floor"), libp2p.NoListenAddrs,
		libp2p.Transport(libp2pquic.NewTransport), libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport), libp2p.Muxer("/mplex/6.7.0", mplex.DefaultTransport),
		libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics(), libp2p.DisableRelay(),
	)
}

// serveFloor answers what nodes ask in return: some leave a peer that does not.
func serveFloor(h host.Host, digest eth2.ForkDigest) {
	answers := map[protocol.ID][]byte{
		p2p.ProtoStatusV2:   eth2.Status{ForkDigest: digest, EarliestAvailableSlot: new(eth2.Slot)}.MarshalSSZ(2),
		p2p.ProtoPingV1:     eth2.MarshalUint64(1),
		p2p.ProtoMetaDataV3: eth2.MetaData{SeqNumber: 1}.MarshalSSZ(3),
	}
	for id, ssz := range answers {
		h.SetStreamHandler(id, func(s network.Stream) {
			// The request is left unread: the answer is the same for any.
			_, _ = s.Write(p2p.EncodeResponse(p2p.CodeSuccess, ssz))
			_ = s.Close()
		})
	}
}

// visitAll gives every node of our network to one of the workers.
func visitAll(ctx context.Context, h host.Host, nodes []devnet.Node, digest eth2.ForkDigest, started time.Time) floorResult {
	var (
		result  floorResult
		mu      sync.Mutex
		workers sync.WaitGroup
	)
	queue := make(chan devnet.Node)
	for range floorWorkers {
		workers.Go(func() {
			for n := range queue {
				if err := visitOne(ctx, h, n, digest); err != nil {
					fmt.Fprintf(os.Stderr, "node %d (%s): %v\n", n.Index, n.Persona, err)
					continue
				}
				mu.Lock()
				result.Handshakes++
				result.Wall, result.CPU = time.Since(started), cpuOfSelf()
				mu.Unlock()
			}
		})
	}
	for _, n := range nodes {
		if n.Ours && len(n.Multiaddrs) > 0 {
			queue <- n
		}
	}
	close(queue)
	workers.Wait()
	return result
}

// visitOne dials, waits for identify, and asks for Status, Ping and MetaData.
func visitOne(ctx context.Context, h host.Host, n devnet.Node, digest eth2.ForkDigest) error {
	ctx, cancel := context.WithTimeout(ctx, floorPatience)
	defer cancel()
	id, err := peer.Decode(n.PeerID)
	if err != nil {
		return err
	}
	info := peer.AddrInfo{ID: id}
	for _, text := range n.Multiaddrs {
		one, err := peer.AddrInfoFromString(text)
		if err != nil {
			return err
		}
		info.Addrs = append(info.Addrs, one.Addrs...)
	}
	// Connect returns after identify.
	if err := h.Connect(ctx, info); err != nil {
		return err
	}
	defer func() { _ = h.Network().ClosePeer(id) }()
	version := 2
	status := func(id protocol.ID) []byte {
		if id == p2p.ProtoStatusV1 {
			version = 1
		}
		return eth2.Status{ForkDigest: digest, EarliestAvailableSlot: new(eth2.Slot)}.MarshalSSZ(version)
	}
	b, err := sendRequest(ctx, h, id, status, eth2.StatusV2Size, p2p.ProtoStatusV2, p2p.ProtoStatusV1)
	if err != nil {
		return err
	}
	var theirs eth2.Status
	if err := theirs.UnmarshalSSZ(b); err != nil {
		return err
	}
	if theirs.ForkDigest != digest {
		return fmt.Errorf("status of digest %v", theirs.ForkDigest)
	}
	ping := func(protocol.ID) []byte { return eth2.MarshalUint64(1) }
	if _, err := sendRequest(ctx, h, id, ping, eth2.Uint64Size, p2p.ProtoPingV1); err != nil {
		return err
	}
	b, err = sendRequest(ctx, h, id, nil, eth2.MetaDataV3Size, p2p.ProtoMetaDataV3, p2p.ProtoMetaDataV2, p2p.ProtoMetaDataV1)
	if err != nil {
		return err
	}
	var m eth2.MetaData
	if err := m.UnmarshalSSZ(b); err != nil {
		return err
	}
	goodbye := func(protocol.ID) []byte { return eth2.MarshalUint64(eth2.GoodbyeTooManyPeers) }
	_, _ = sendRequest(ctx, h, id, goodbye, eth2.Uint64Size, p2p.ProtoGoodbyeV1) // most answer by closing
	return nil
}

// sendRequest makes one request on the first of the protocols that the peer speaks.
func sendRequest(ctx context.Context, h host.Host, id peer.ID, body func(protocol.ID) []byte, max int, protocols ...protocol.ID) ([]byte, error) {
	stream, err := h.NewStream(ctx, id, protocols...)
	if err != nil {
		return nil, err
	}
	defer stream.Reset()
	if err := stream.SetDeadline(time.Now().Add(floorPatience)); err != nil {
		return nil, err
	}
	if body != nil {
		if _, err := stream.Write(p2p.EncodeRequest(body(stream.Protocol()))); err != nil {
			return nil, err
		}
	}
	if err := stream.CloseWrite(); err != nil {
		return nil, err
	}
	return p2p.ReadResponse(stream, max)
}

// cpuOfSelf is the user and system time of this process.
func cpuOfSelf() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprintf("getrusage on %s: %v", runtime.GOOS, err)) // only a bad argument fails
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runFloor runs the floor client, which is this program, in its own process.
func runFloor(ctx context.Context, o options, net *simulated) (crawl, error) {
	self, err := os.Executable()
	if err != nil {
		return crawl{}, err
	}
	p, err := launch(ctx, o.verbose, self, "floor", "-dir", net.dir, "-digest", net.digest)
	if err != nil {
		return crawl{}, err
	}
	var r floorResult
	err = json.NewDecoder(p.stdout).Decode(&r)
	if err := errors.Join(err, p.cmd.Wait()); err != nil {
		return crawl{}, fmt.Errorf("floor client: %w\n%s", err, p.stderr.Bytes())
	}
	return crawl{handshakes: r.Handshakes, wall: r.Wall, cpu: r.CPU}, nil
}
