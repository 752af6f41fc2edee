package p2p

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/encoding/protowire"
)

// What plain go-libp2p learns of us.
func TestPeerIdentifiesUs(t *testing.T) {
	for name, transports := range eachTransport() {
		t.Run(name, func(t *testing.T) {
			h := startHost(t, func(cfg *Config) {
				cfg.Inbound = func(ctx context.Context, s *Session) { <-ctx.Done() }
			})
			p := startPeer(t, transports...)
			p.connect(h)
			id := h.swarm.LocalPeer()
			await(t, "the peer knows our agent", func() bool {
				agent, err := p.Peerstore().Get(id, "AgentVersion")
				return err == nil && agent == "valtrack/test"
			})
			got, err := p.Peerstore().GetProtocols(id)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			want := slices.Concat(MeshsubProtocols(), []protocol.ID{
				protoIdentify, ProtoStatusV1, ProtoStatusV2, ProtoPingV1,
				ProtoMetaDataV1, ProtoMetaDataV2, ProtoMetaDataV3, ProtoGoodbyeV1,
			})
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if len(p.Peerstore().Addrs(id)) == 0 {
				t.Error("the peer knows no address of ours")
			}
		})
	}
}

// A peer that opens a stream for a protocol that we do not support is refused, one that asks
// for any number of things is cut off.
func TestNegotiation(t *testing.T) {
	p, h := startPeer(t), startHost(t, nil)
	dial(t, h, p.target())
	id := h.swarm.LocalPeer()
	await(t, "the peer sees the connection", func() bool { return p.Network().Connectedness(id) == network.Connected })
	roundTrip := func(tokens ...string) string {
		t.Helper()
		stream, err := p.Network().NewStream(testContext(t), id)
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		for _, token := range tokens {
			out = appendToken(out, token)
		}
		stream.Write(out)
		stream.CloseWrite()
		answer, _ := io.ReadAll(stream)
		return string(answer)
	}
	header, na := string(appendToken(nil, multistreamID)), string(appendToken(nil, notAvailable))
	metadata := string(ProtoMetaDataV3)
	if got, want := roundTrip(multistreamID, "/x", metadata), header+na+string(appendToken(nil, metadata)); !strings.HasPrefix(got, want) {
		t.Errorf("answered %q, want %q", got, want)
	}
	if got := roundTrip("GET / HTTP/1.1"); got != "" {
		t.Errorf("answered %q to a header that is none", got)
	}
	if got := roundTrip(append([]string{multistreamID}, make([]string, 100)...)...); strings.Count(got, na) > maxProposals {
		t.Errorf("answered %q", got)
	}
}

// Identify messages that no healthy peer sends end in an error or a bounded agent.
func TestHostileIdentify(t *testing.T) {
	long := appendBytes(nil, fieldAgentVersion, []byte(strings.Repeat("x", 2*maxAgent)))
	message := func(parts ...[]byte) (out []byte) {
		for _, part := range parts {
			out = protowire.AppendBytes(out, part)
		}
		return out
	}
	agent := appendBytes(nil, fieldAgentVersion, []byte("Lighthouse/v8"))
	protocols := appendBytes(nil, fieldProtocols, []byte(ProtoPingV1))
	for name, tc := range map[string]struct {
		message []byte
		agent   string
		fails   bool
	}{
		"agent first":              {message: message(agent, protocols), agent: "Lighthouse/v8"},
		"agent second":             {message: message(protocols, agent), agent: "Lighthouse/v8"},
		"agent after empty ones":   {message: message(nil, nil, agent), agent: "Lighthouse/v8"},
		"agent, then cut":          {message: append(message(agent), 9, 1), agent: "Lighthouse/v8"},
		"agent, then garbage":      {message: message(agent, []byte("\xff\xff")), agent: "Lighthouse/v8"},
		"no agent in two messages": {message: message(protocols, protocols)},
		"cut before the agent":     {message: append(message(protocols), 9, 1), fails: true},
		"garbage before the agent": {message: message(protocols, []byte("\xff\xff")), fails: true},
		"endless":                  {message: bytes.Repeat([]byte{0}, 1000), fails: true},
		"empty":                    {message: []byte{0}},
		"long agent":               {message: protowire.AppendBytes(nil, long), agent: strings.Repeat("x", maxAgent)},
		"oversize":                 {message: protowire.AppendVarint(nil, maxIdentify+1), fails: true},
		"truncated":                {message: []byte{9, 1}, fails: true},
		"garbage":                  {message: protowire.AppendBytes(nil, []byte("\xff\xff\xff\xff")), fails: true},
		"nothing":                  {fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			p, h := startPeer(t), startHost(t, nil)
			p.SetStreamHandler(protoIdentify, func(s network.Stream) { s.Write(tc.message); s.Close() })
			agent, err := dial(t, h, p.target()).Agent(testContext(t))
			if agent != tc.agent || (err != nil) != tc.fails {
				t.Errorf("Agent = %q, %v", agent, err)
			}
		})
	}
}

func FuzzDecodeIdentity(f *testing.F) {
	f.Add(appendBytes(appendBytes(nil, fieldAgentVersion, []byte("Lighthouse")), fieldProtocols, []byte(ProtoPingV1)))
	f.Add([]byte{0xff})
	f.Add([]byte{0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, in := range [][]byte{b, protowire.AppendBytes(protowire.AppendBytes(nil, b), b)} {
			who, err := readIdentity(&chunkReader{src: bytes.NewReader(in)})
			if err == nil && (len(who.agent) > maxAgent || len(who.protocols) > 7) {
				t.Errorf("%+v", who)
			}
		}
	})
}
