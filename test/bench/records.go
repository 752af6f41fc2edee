package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethenr "github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
	"golang.org/x/sync/errgroup"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

const (
	knownRecords = 100_000
	// oneOfOurs: of the records known on mainnet, one in so many is of mainnet.
	oneOfOurs       = 5
	recordsPatience = 3 * time.Minute
)

// records measures the memory of a sentry that knows 100 000 records, none of them
// of a node that answers. It is a process of its own made of the same rooms as the
// real one.
func records(ctx context.Context, o options, w io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "valtrack-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// The devnet is here for its network directory alone.
	network, err := startNetwork(ctx, o, filepath.Join(dir, "devnet"), "healthy", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.stop()) }()
	list, err := makeRecords(network.digest, knownRecords)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "records.txt")
	if err := writeRecords(file, list); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, recordsPatience)
	defer cancel()
	args := []string{"knowing", "-dir", dir, "-records", file}
	if o.profile != "" {
		args = append(args, "-heap", filepath.Join(o.profile, "records-heap.pprof"))
	}
	p, err := launch(ctx, o.verbose, self, args...)
	if err != nil {
		return err
	}
	ready, err := p.stdout.ReadString('\n')
	if err != nil {
		return fmt.Errorf("sentry of %d records: %w\n%s", knownRecords, errors.Join(err, p.cmd.Wait()), p.stderr.Bytes())
	}
	if err := pause(ctx, heldSettle); err != nil {
		return err
	}
	memory, err := p.memory()
	if err != nil {
		return err
	}
	whole, err := p.resident()
	if err != nil {
		return err
	}
	peak, err := p.peak()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: %.0f MiB resident, %.0f MiB of it anonymous; %.0f MiB resident at the peak.\n",
		strings.TrimSpace(ready), mebibytes(whole), mebibytes(memory), mebibytes(peak))
	return p.stop()
}

// makeRecords signs n records, each of another key and loopback address.
func makeRecords(digestText string, n int) ([]enr.Record, error) {
	var digest eth2.ForkDigest
	if err := digest.UnmarshalText([]byte(digestText)); err != nil {
		return nil, err
	}
	list := make([]enr.Record, n)
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	const part = 1000
	for from := 0; from < n; from += part {
		g.Go(func() error {
			for i := from; i < min(from+part, n); i++ {
				id := eth2.ENRForkID{ForkDigest: digest}
				if i%oneOfOurs != 0 {
					id.ForkDigest[0]++
				}
				r, err := makeRecord(i, id)
				if err != nil {
					return err
				}
				list[i] = r
			}
			return nil
		})
	}
	return list, g.Wait()
}

// writeRecords writes a line of each: ENR, peer id, node id. The last two spare the
// reader the cost of the key.
func writeRecords(path string, list []enr.Record) error {
	var b bytes.Buffer
	for _, r := range list {
		fmt.Fprintln(&b, r.Raw, r.PeerID, r.NodeID)
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}

// makeRecord is a record as a Lighthouse node has it, of a port at which nobody
// answers.
func makeRecord(i int, id eth2.ENRForkID) (enr.Record, error) {
	key, err := scalar(i)
	if err != nil {
		return enr.Record{}, err
	}
	ip := binary.BigEndian.AppendUint32(nil, 127<<24|64<<16+uint32(i))
	const discard = 9 // the discard service's port
	var r gethenr.Record
	for _, e := range []gethenr.Entry{
		gethenr.IPv4(net.IP(ip)), gethenr.UDP(discard), gethenr.TCP(discard), enr.QUICEntry(discard),
		enr.Eth2Entry(id), enr.AttnetsEntry(eth2.NewAttnets([]int{i % 64, (i + 1) % 64})), enr.SyncnetsEntry(0),
		enr.CGCEntry(8), enr.NFDEntry(eth2.ForkDigest{}),
	} {
		r.Set(e)
	}
	if err := enode.SignV4(&r, key); err != nil {
		return enr.Record{}, err
	}
	raw, err := rlp.EncodeToBytes(&r)
	if err != nil {
		return enr.Record{}, err
	}
	peerID, err := enr.PeerIDFromKey(crypto.CompressPubkey(&key.PublicKey))
	return enr.Record{
		Raw: "enr:" + base64.RawURLEncoding.EncodeToString(raw), PeerID: peerID,
		NodeID: eth2.NodeID(enode.PubkeyToIDV4(&key.PublicKey)),
	}, err
}

// scalar is the i-th key.
func scalar(i int) (*ecdsa.PrivateKey, error) {
	return crypto.ToECDSA(crypto.Keccak256(binary.LittleEndian.AppendUint64([]byte("bench record"), uint64(i))))
}
