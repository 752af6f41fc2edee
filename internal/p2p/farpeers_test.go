package p2p

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
)

// peersVariable makes the test binary a process of so many healthy peers: what
// they cost is then not in the measures of ours.
const peersVariable = "VALTRACK_TEST_PEERS"

// transportsOf gives the i-th peer's: half of the peers have QUIC and TCP, the
// others TCP with either muxer.
func transportsOf(i int) []libp2p.Option {
	switch i % 4 {
	case 0:
		return []libp2p.Option{withTCP, withYamux}
	case 1:
		return []libp2p.Option{withTCP, withMplex}
	default:
		return []libp2p.Option{withQUIC, withTCP, withYamux}
	}
}

// servePeers starts n peers, prints their targets and serves until stdin ends.
func servePeers(n int) {
	var t farTesting
	targets := make([]Target, n)
	for i := range targets {
		p := startPeer(&t, transportsOf(i)...)
		p.serveAll()
		p.greet(peerHello(i))
		targets[i] = p.target()
	}
	if err := json.NewEncoder(os.Stdout).Encode(targets); err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// farTesting stands in for a test in the peers' process, which lives until it is
// told to end.
type farTesting struct{ testing.TB }

func (*farTesting) Helper()           {}
func (*farTesting) Cleanup(func())    {}
func (*farTesting) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// peerHello is the i-th peer's list of topics: the global ones, two attestation
// subnets and eight columns.
func peerHello(i int) []Subscription {
	var subs []Subscription
	add := func(name string) {
		subs = append(subs, Subscription{Subscribe: true, Topic: "/eth2/8c9f62fe/" + name + "/ssz_snappy"})
	}
	for _, name := range []string{"beacon_block", "beacon_aggregate_and_proof", "voluntary_exit", "proposer_slashing", "attester_slashing"} {
		add(name)
	}
	for k := range 2 {
		add("beacon_attestation_" + strconv.Itoa((i+k)%64))
	}
	for k := range 8 {
		add("data_column_sidecar_" + strconv.Itoa((i*7+k)%128))
	}
	return subs
}

// greet makes the peer say hello on a meshsub stream that it keeps, as a client.
func (p *testPeer) greet(subs []Subscription) {
	rpc := encodeRPC(p.t, subs...)
	p.Network().Notify(&network.NotifyBundle{ConnectedF: func(_ network.Network, conn network.Conn) {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
			defer cancel()
			if s, err := p.NewStream(ctx, conn.RemotePeer(), "/meshsub/1.1.0"); err == nil {
				s.Write(rpc)
			}
		}()
	}})
}

// farPeers starts n peers in a process of their own.
func farPeers(tb testing.TB, n int) []Target {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), peersVariable+"="+strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	var targets []Target
	if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&targets); err != nil {
		tb.Fatal(err)
	}
	return targets
}
