package p2p

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// encodeRPC frames subscriptions as gossipsub does.
func encodeRPC(t testing.TB, subs ...Subscription) []byte {
	t.Helper()
	rpc := &pb.RPC{}
	for _, s := range subs {
		rpc.Subscriptions = append(rpc.Subscriptions, &pb.RPC_SubOpts{Subscribe: &s.Subscribe, Topicid: &s.Topic})
	}
	b, err := proto.Marshal(rpc)
	if err != nil {
		t.Fatal(err)
	}
	return delimited(b)
}

func delimited(b []byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
}

func TestReadRPC(t *testing.T) {
	subs := []Subscription{{true, "/eth2/8c9f62fe/beacon_attestation_0/ssz_snappy"}, {false, "beacon_attestation"}, {true, "x"}}
	in := append(encodeRPC(t, subs...), encodeRPC(t)...)
	r := bufio.NewReader(bytes.NewReader(in))
	got, err := readRPC(r, maxRPCSize)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(subs, got); diff != "" {
		t.Error(diff)
	}
	if got, err := readRPC(r, maxRPCSize); err != nil || len(got) != 0 {
		t.Errorf("empty RPC = %v, %v", got, err)
	}
	if _, err := readRPC(r, maxRPCSize); !errors.Is(err, io.EOF) {
		t.Errorf("end of stream = %v, want io.EOF", err)
	}
}

// Whatever else an RPC carries is skipped, and an RPC larger than the buffer read.
func TestReadRPCWithMessages(t *testing.T) {
	topic := "t"
	yes := true
	rpc := &pb.RPC{
		Subscriptions: []*pb.RPC_SubOpts{{Subscribe: &yes, Topicid: &topic}},
		Publish:       []*pb.Message{{Data: make([]byte, 100_000), Topic: &topic}},
		Control:       &pb.ControlMessage{Graft: []*pb.ControlGraft{{TopicID: &topic}}},
	}
	b, err := proto.Marshal(rpc)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readRPC(bufio.NewReader(bytes.NewReader(delimited(b))), maxRPCSize)
	if err != nil || len(got) != 1 || got[0] != (Subscription{true, topic}) {
		t.Errorf("ReadRPC = %v, %v", got, err)
	}
}

func TestReadRPCLeavesOut(t *testing.T) {
	in := encodeRPC(t, Subscription{true, ""}, Subscription{true, strings.Repeat("x", maxTopicLength+1)},
		Subscription{true, "not \xff UTF-8"}, Subscription{true, "kept"})
	got, err := readRPC(bufio.NewReader(bytes.NewReader(in)), maxRPCSize)
	if diff := cmp.Diff([]Subscription{{true, "kept"}}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestReadRPCMalformed(t *testing.T) {
	flood := make([]Subscription, maxRPCSubscriptions+1)
	for i := range flood {
		flood[i] = Subscription{true, "x"}
	}
	for name, in := range map[string][]byte{
		"oversize":       binary.AppendUvarint(nil, maxRPCSize+1),
		"truncated":      encodeRPC(t, Subscription{true, "x"})[:4],
		"huge, cut off":  append(binary.AppendUvarint(nil, maxRPCSize), 1, 2, 3),
		"bad tag":        delimited([]byte{0}),
		"bad entry":      delimited(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{0xff})),
		"flood":          encodeRPC(t, flood...),
		"length over 64": bytes.Repeat([]byte{0xff}, 11),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readRPC(bufio.NewReader(bytes.NewReader(in)), maxRPCSize)
			if err == nil {
				t.Fatalf("ReadRPC = %v, want an error", got)
			}
			if name != "length over 64" && !errors.Is(err, errMalformed) {
				t.Errorf("error %v, want ErrMalformed", err)
			}
		})
	}
}

func FuzzReadRPC(f *testing.F) {
	f.Add(encodeRPC(f, Subscription{true, "/eth2/8c9f62fe/beacon_attestation_63/ssz_snappy"}, Subscription{false, "y"})[1:])
	f.Add(encodeRPC(f)[1:])
	f.Add([]byte{0x0a, 0x03, 0x12, 0x01, 0x78})
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := readRPC(bufio.NewReaderSize(bytes.NewReader(delimited(body)), 16), 1<<16)
		var reference pb.RPC
		if proto.Unmarshal(body, &reference) != nil {
			return // ours skips fields that the reference parses, so it may accept more
		}
		if len(reference.Subscriptions) > maxRPCSubscriptions || len(body) > 1<<16 {
			if err == nil {
				t.Fatal("accepted more than the limits")
			}
			return
		}
		if err != nil {
			t.Fatalf("the reference parses it, ours: %v", err)
		}
		var want []Subscription
		for _, s := range reference.Subscriptions {
			if topic := s.GetTopicid(); topic != "" && len(topic) <= maxTopicLength && utf8.ValidString(topic) {
				want = append(want, Subscription{s.GetSubscribe(), topic})
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
