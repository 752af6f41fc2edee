package p2p

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/chainbound/valtrack/internal/printable"
)

// The identify protocol (libp2p specs identify/README.md). Of what a peer says we
// keep its agent and which of our requests it serves: not its addresses, which the
// record has, nor its signed record, whose check costs a tenth of a handshake.
const protoIdentify protocol.ID = "/ipfs/id/1.0.0"

const (
	// identifyVersion is our protocolVersion, the same as clients send.
	identifyVersion = "eth2/1.0.0"
	// maxIdentify bounds an identify message, in bytes, as go-libp2p does.
	maxIdentify = 8 << 10
	// maxIdentifyMessages bounds the messages that are read for the agent.
	maxIdentifyMessages = 4
	// maxIdentifyTail bounds what is taken off the stream after those messages.
	maxIdentifyTail = 16 << 10
)

// Field numbers of the Identify message.
const (
	fieldPublicKey       protowire.Number = 1
	fieldListenAddrs     protowire.Number = 2
	fieldProtocols       protowire.Number = 3
	fieldObservedAddr    protowire.Number = 4
	fieldProtocolVersion protowire.Number = 5
	fieldAgentVersion    protowire.Number = 6
)

// identity is what a peer said in identify.
type identity struct {
	agent     string        // printable, at most maxAgent bytes
	protocols []protocol.ID // of the protocols that we request
	// partial is why the end of the messages was not read; nil when it was, or not needed.
	// An agent that has not come by then is not known, rather than empty.
	partial error
}

// identify asks the peer who it is and closes s.identified when that is known, or
// will not be.
func (s *Session) identify() {
	stream, in, err := s.askIdentity()
	close(s.identified)
	if stream == nil {
		return
	}
	if err != nil {
		stream.Reset()
		return
	}
	// go-libp2p may send its signed record in a further message. It is read because
	// go-mplex loses the buffers of what is left unread.
	if _, err := io.Copy(io.Discard, io.LimitReader(in.src, maxIdentifyTail)); err != nil {
		stream.Reset()
	}
	stream.Close()
}

// askIdentity sets s.identity. The stream is not nil once it is open.
func (s *Session) askIdentity() (network.Stream, *chunkReader, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.host.cfg.FirstByteTimeout)
	defer cancel()
	stream, err := s.conn.NewStream(ctx)
	if err != nil {
		return nil, nil, err
	}
	stream.SetDeadline(time.Now().Add(s.host.cfg.FirstByteTimeout))
	in := &chunkReader{src: stream}
	if err := stream.SetProtocol(protoIdentify); err != nil {
		return stream, in, err
	}
	if _, err := stream.Write(opening(protoIdentify)); err != nil {
		return stream, in, err
	}
	if _, err := readSelection(stream, in, []message{{proto: protoIdentify}}); err != nil {
		return stream, in, err
	}
	who, err := readIdentity(in)
	if err == nil {
		s.identity = &who
	}
	return stream, in, err
}

// readIdentity reads messages, which together are one, until the agent and the protocols are
// known or the peer ends the stream. An error means that not even the first one came.
func readIdentity(in *chunkReader) (who identity, err error) {
	for read := range maxIdentifyMessages {
		ended, err := readIdentityMessage(in, &who)
		switch {
		case err != nil && read == 0:
			return who, err
		case ended:
			return who, nil
		case err != nil:
			who.partial = err
			return who, nil //nolint:nilerr // it is kept
		case who.agent != "" && len(who.protocols) > 0:
			return who, nil
		}
	}
	who.partial = fmt.Errorf("%w: more than %d identify messages", errMalformed, maxIdentifyMessages)
	return who, nil
}

// readIdentityMessage merges the next message into who. ended reports that there is none,
// with an error.
func readIdentityMessage(in *chunkReader, who *identity) (ended bool, err error) {
	begin := in.pos
	n, err := in.uvarint()
	if err != nil {
		return in.eof && begin == len(in.buf), err
	}
	if n > maxIdentify {
		return false, fmt.Errorf("%w: identify message of %d bytes", errMalformed, n)
	}
	b, err := in.readBytes(int(n))
	if err != nil {
		return false, err
	}
	return false, who.merge(b)
}

// merge adds what an Identify message says.
func (who *identity) merge(b []byte) error {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return badIdentify(n)
		}
		b = b[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, kind, b); n < 0 {
				return badIdentify(n)
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return badIdentify(n)
		}
		b = b[n:]
		switch num {
		case fieldAgentVersion:
			who.agent = strings.TrimSpace(printable.Clean(string(value[:min(len(value), maxAgent)])))
		case fieldProtocols:
			if id, ok := requestProtocol(string(value)); ok && !slices.Contains(who.protocols, id) {
				who.protocols = append(who.protocols, id)
			}
		}
	}
	return nil
}

func badIdentify(n int) error {
	return fmt.Errorf("%w: identify: %w", errMalformed, protowire.ParseError(n))
}

// requestProtocol gives our own copy of a protocol's id if we make such requests.
func requestProtocol(id string) (protocol.ID, bool) {
	for _, versions := range [][]message{statusVersions, metaDataVersions, pingVersions, goodbyeVersions} {
		for _, m := range versions {
			if string(m.proto) == id {
				return m.proto, true
			}
		}
	}
	return "", false
}

// onIdentify sends our identity.
func (h *Host) onIdentify(_ *Session, stream network.Stream, _ *chunkReader) {
	b := slices.Clone(h.identity)
	if addrs, err := h.swarm.InterfaceListenAddresses(); err == nil {
		for _, addr := range addrs {
			b = appendBytes(b, fieldListenAddrs, addr.Bytes())
		}
	}
	b = appendBytes(b, fieldObservedAddr, stream.Conn().RemoteMultiaddr().Bytes())
	if _, err := stream.Write(protowire.AppendBytes(nil, b)); err != nil {
		stream.Reset()
		return
	}
	stream.Close()
}

// encodeIdentity gives the part of our Identify message that every peer gets.
func encodeIdentity(key crypto.PubKey, agent string, protocols []protocol.ID) ([]byte, error) {
	public, err := crypto.MarshalPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	b := appendBytes(nil, fieldPublicKey, public)
	b = appendBytes(b, fieldProtocolVersion, []byte(identifyVersion))
	b = appendBytes(b, fieldAgentVersion, []byte(agent))
	for _, id := range protocols {
		b = appendBytes(b, fieldProtocols, []byte(id))
	}
	return b, nil
}

func appendBytes(b []byte, num protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), value)
}
