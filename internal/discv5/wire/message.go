package wire

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

// Message types.
const (
	typePing byte = iota + 1
	typePong
	typeFindnode
	typeNodes
	typeTalkRequest
	typeTalkResponse
)

// maxRequestID is the size of the longest request id, in bytes.
const maxRequestID = 8

var (
	errEmpty     = errors.New("empty message")
	errRequestID = fmt.Errorf("request id of more than %d bytes", maxRequestID)
)

// Message is a request, or a response to one.
type Message interface {
	// RequestID is chosen by who sends the request; the responses repeat it. It has
	// at most 8 bytes.
	RequestID() []byte
	kind() byte
}

// The messages, field by field as in discv5-wire.md.
type (
	// Ping asks whether a node is alive.
	Ping struct {
		ReqID  []byte
		ENRSeq uint64
	}
	// Pong answers a Ping. ToIP and ToPort are the endpoint that it came from.
	Pong struct {
		ReqID  []byte
		ENRSeq uint64
		ToIP   []byte // 4 or 16 bytes, unless the sender breaks the rules
		ToPort uint16
	}
	// Findnode asks for the nodes at logarithmic distances from its recipient; at 0 is
	// the recipient.
	Findnode struct {
		ReqID     []byte
		Distances []uint
	}
	// Nodes is one packet of the answer to a Findnode.
	Nodes struct {
		ReqID []byte
		Total uint64 // packets of the answer, as the sender says
		// Raw are the encoded records as they came, valid or not: see Records.
		Raw []rlp.RawValue
	}
	// TalkRequest is a request of another protocol.
	TalkRequest struct {
		ReqID    []byte
		Protocol []byte
		Message  []byte
	}
	// TalkResponse answers a TalkRequest, with an empty message when the protocol is
	// not known.
	TalkResponse struct {
		ReqID   []byte
		Message []byte
	}
)

// RequestID implements Message.
func (m *Ping) RequestID() []byte { return m.ReqID }

// RequestID implements Message.
func (m *Pong) RequestID() []byte { return m.ReqID }

// RequestID implements Message.
func (m *Findnode) RequestID() []byte { return m.ReqID }

// RequestID implements Message.
func (m *Nodes) RequestID() []byte { return m.ReqID }

// RequestID implements Message.
func (m *TalkRequest) RequestID() []byte { return m.ReqID }

// RequestID implements Message.
func (m *TalkResponse) RequestID() []byte { return m.ReqID }

func (*Ping) kind() byte         { return typePing }
func (*Pong) kind() byte         { return typePong }
func (*Findnode) kind() byte     { return typeFindnode }
func (*Nodes) kind() byte        { return typeNodes }
func (*TalkRequest) kind() byte  { return typeTalkRequest }
func (*TalkResponse) kind() byte { return typeTalkResponse }

// Endpoint is where our Ping came from according to the sender; false when it does not
// say.
func (m *Pong) Endpoint() (netip.AddrPort, bool) {
	addr, ok := netip.AddrFromSlice(m.ToIP)
	return netip.AddrPortFrom(addr.Unmap(), m.ToPort), ok && m.ToPort != 0
}

// DecodeRecord decodes one of the raw records of a Nodes. An error says that it is none:
// too large, not RLP, unsorted keys and the like. The signature is not checked.
func DecodeRecord(raw []byte) (*enr.Record, error) {
	if len(raw) > enr.SizeLimit {
		return nil, fmt.Errorf("a record of %d bytes: at most %d", len(raw), enr.SizeLimit)
	}
	r := new(enr.Record)
	if err := rlp.DecodeBytes(raw, r); err != nil {
		return nil, fmt.Errorf("RLP of a record: %w", err)
	}
	return r, nil
}

func encodeMessage(m Message) ([]byte, error) {
	body, err := rlp.EncodeToBytes(m)
	if err != nil {
		return nil, err
	}
	return append([]byte{m.kind()}, body...), nil
}

// decodeMessage reads the plaintext of a message, which a Nodes keeps parts of.
func decodeMessage(b []byte) (m Message, err error) {
	if len(b) == 0 {
		return nil, errEmpty
	}
	switch b[0] {
	case typePing:
		m = new(Ping)
	case typePong:
		m = new(Pong)
	case typeFindnode:
		m = new(Findnode)
	case typeNodes:
		return decodeNodes(b[1:])
	case typeTalkRequest:
		m = new(TalkRequest)
	case typeTalkResponse:
		m = new(TalkResponse)
	default:
		return nil, fmt.Errorf("unknown message type %d", b[0])
	}
	if err := rlp.DecodeBytes(b[1:], m); err != nil {
		return nil, err
	}
	if len(m.RequestID()) > maxRequestID {
		return nil, errRequestID
	}
	return m, nil
}

// decodeNodes leaves what follows the list of records unread, and takes the rest of a
// list that is broken for one record, which Records refuses.
func decodeNodes(body []byte) (Message, error) {
	fields, _, err := rlp.SplitList(body)
	if err != nil {
		return nil, err
	}
	m := new(Nodes)
	if m.ReqID, fields, err = rlp.SplitString(fields); err != nil {
		return nil, fmt.Errorf("request id: %w", err)
	}
	if len(m.ReqID) > maxRequestID {
		return nil, errRequestID
	}
	if m.Total, fields, err = rlp.SplitUint64(fields); err != nil {
		return nil, fmt.Errorf("number of packets: %w", err)
	}
	list, _, err := rlp.SplitList(fields)
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	for len(list) > 0 {
		_, _, rest, err := rlp.Split(list)
		if err != nil {
			rest = nil
		}
		m.Raw = append(m.Raw, list[:len(list)-len(rest)])
		list = rest
	}
	return m, nil
}
