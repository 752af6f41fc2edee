package event

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/printable"
)

// Decode is DecodeString of a copy of the message.
func Decode(subject string, data []byte) (Event, error) {
	return DecodeString(subject, string(data))
}

// DecodeString parses and validates an event of the subject. Unknown fields are
// ignored. Every error wraps ErrInvalid. The caller owns the event. Its strings are
// parts of the message: clone those that are to be kept for long.
//
// JSON in the form that Encode writes is read by straight-line code, an order of
// magnitude faster than by encoding/json; everything else that is valid (of other
// publishers, or with escapes) is left to encoding/json. Values, and what is
// accepted, are the same either way.
func DecodeString(subject, text string) (Event, error) {
	if err := checkSize(subject, len(text)); err != nil {
		return nil, err
	}
	e, err := newEvent(subject)
	if err != nil {
		return nil, err
	}
	validate := Event.validateValues // what is read fast is printable
	if !readFast(text, e) {
		validate = Event.Validate
		e, _ = newEvent(subject) // what was read so far is of no use
		if err := json.Unmarshal([]byte(text), e); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, subject, err)
		}
		cleanText(e)
	}
	if err := validate(e); err != nil {
		return nil, err
	}
	return e, nil
}

// cleanText makes text that a peer chose printable, which older sentries left to us: the
// peer must not be able to have its visit refused.
func cleanText(e Event) {
	switch e := e.(type) {
	case *MetadataReceived:
		e.ClientVersion = printable.Clean(e.ClientVersion)
	case *VisitEnded:
		e.ClientVersion, e.Error = printable.Clean(e.ClientVersion), printable.Clean(e.Error)
	}
}

func newEvent(subject string) (Event, error) {
	switch subject {
	case SubjectPeerDiscovered:
		return new(PeerDiscovered), nil
	case SubjectMetadataReceived:
		return new(MetadataReceived), nil
	case SubjectVisitEnded:
		return new(VisitEnded), nil
	}
	return nil, fmt.Errorf("%w: unknown subject %q", ErrInvalid, subject)
}

// readFast fills an empty event; false when the message is not in Encode's form.
func readFast(text string, into Event) bool {
	s := newScanner(text)
	s.event(into)
	return s.end()
}

func (s *scanner) event(into Event) {
	switch e := into.(type) {
	case *PeerDiscovered:
		s.peerDiscovered(e)
	case *MetadataReceived:
		s.metadataReceived(e)
	case *VisitEnded:
		s.visitEnded(e)
	}
}

func (s *scanner) common(c *Common) {
	c.Network, c.CrawlerID = s.str(`{"network":`), s.str(`,"crawler_id":`)
	c.CrawlerLocation, c.Timestamp = s.str(`,"crawler_location":`), s.signed(`,"timestamp":`)
	c.ClockSkewMS = s.optSkew(`,"clock_skew_ms":`)
	if s.has(`,"genesis_validators_root":`) {
		s.hex("", c.GenesisValidatorsRoot[:])
	}
	c.CrawlerVersion = s.optStr(`,"crawler_version":`)
}

func (s *scanner) peerDiscovered(e *PeerDiscovered) {
	s.common(&e.Common)
	e.ENR, e.ID = s.str(`,"enr":`), s.str(`,"id":`)
	s.hex(`,"node_id":`, e.NodeID[:])
	e.Seq = s.num(`,"seq":`, math.MaxUint64)
	e.IP, e.IP6 = s.optStr(`,"ip":`), s.optStr(`,"ip6":`)
	e.Port, e.UDP, e.QUIC = s.optPort(`,"port":`), s.optPort(`,"udp":`), s.optPort(`,"quic":`)
	e.ForkDigest = (*eth2.ForkDigest)(s.optHex4(`,"fork_digest":`))
	e.NextForkVersion = (*eth2.Version)(s.optHex4(`,"next_fork_version":`))
	e.NextForkEpoch = (*eth2.Epoch)(s.optNum(`,"next_fork_epoch":`))
	e.Attnets = s.optAttnets(`,"attnets":`)
	e.Syncnets = s.optSyncnets(`,"syncnets":`)
	e.CustodyGroupCount = s.optNum(`,"custody_group_count":`)
	e.NFD = (*eth2.ForkDigest)(s.optHex4(`,"nfd":`))
	e.Own = s.optBool(`,"own":`)
	s.must("}")
}

func (s *scanner) metadataReceived(e *MetadataReceived) {
	s.common(&e.Common)
	e.ENR, e.ID = s.optStr(`,"enr":`), s.str(`,"id":`)
	if s.has(`,"node_id":`) {
		e.NodeID = new(eth2.NodeID)
		s.hex("", e.NodeID[:])
	}
	e.Multiaddr, e.Epoch = s.str(`,"multiaddr":`), eth2.Epoch(s.num(`,"epoch":`, math.MaxUint64))
	s.must(`,"metadata":{`)
	e.MetaData = new(MetaData)
	s.metaData(e.MetaData)
	e.SubscribedSubnets = s.ints(`,"subscribed_subnets":`)
	e.ClientVersion, e.VisitID = s.str(`,"client_version":`), s.str(`,"visit_id":`)
	e.Direction, e.Transport = s.str(`,"direction":`), s.str(`,"transport":`)
	s.hex(`,"fork_digest":`, e.ForkDigest[:])
	e.HeadSlot = eth2.Slot(s.num(`,"head_slot":`, math.MaxUint64))
	e.FinalizedEpoch = eth2.Epoch(s.num(`,"finalized_epoch":`, math.MaxUint64))
	e.EarliestAvailableSlot = (*eth2.Slot)(s.optNum(`,"earliest_available_slot":`))
	if s.has(`,"column_subnets":`) {
		n := int(s.digits(math.MaxInt))
		e.ColumnSubnets = &n
	}
	e.SyncSubnets = s.ints(`,"sync_subnets":`)
	s.must("}")
}

// metaData reads the fields of m and the closing brace.
func (s *scanner) metaData(m *MetaData) {
	m.SeqNumber = s.num(`"seq_number":`, math.MaxUint64)
	s.hex(`,"attnets":`, m.Attnets[:])
	m.Syncnets = s.optSyncnets(`,"syncnets":`)
	m.CustodyGroupCount = s.optNum(`,"custody_group_count":`)
	s.must("}")
}

func (s *scanner) visitEnded(e *VisitEnded) {
	s.common(&e.Common)
	e.VisitID = s.str(`,"visit_id":`)
	if s.has(`,"part":`) {
		e.Part = int(s.digits(math.MaxInt))
	}
	e.More = s.has(`,"more":true`)
	e.ID, e.Multiaddr = s.str(`,"id":`), s.optStr(`,"multiaddr":`)
	e.Direction, e.Transport = s.str(`,"direction":`), s.optStr(`,"transport":`)
	e.Started, e.Ended = s.signed(`,"started":`), s.signed(`,"ended":`)
	e.Outcome, e.Error = s.str(`,"outcome":`), s.optStr(`,"error":`)
	e.GoodbyeCode = s.optNum(`,"goodbye_code":`)
	e.ClientVersion = s.optStr(`,"client_version":`)
	if s.has(`,"handshake_ms":`) {
		ms := int64(s.digits(math.MaxInt64))
		e.HandshakeMS = &ms
	}
	e.EarlierBootEnd = s.optStr(`,"earlier_boot_end":`)
	if s.has(`,"watch":{`) {
		e.Watch = new(Watch)
		s.watch(e.Watch)
	}
	s.must("}")
}

// watch reads the fields of w and the closing brace.
func (s *scanner) watch(w *Watch) {
	w.From, w.To = s.signed(`"from":`), s.signed(`,"to":`)
	w.Initial = s.ints(`,"initial":`)
	if s.has(`,"since":`) {
		w.Since = s.ints("")
	}
	w.Attnets = s.optAttnets(`,"attnets":`)
	s.must(`,"changes":`)
	rest := s.text[s.at:]
	size := min(strings.Count(rest, "["), len(rest)/len("[0,0,0],")) // one or two more than there are
	w.Changes = list(s, size, func(c *SubnetChange) {
		c.At, c.Subnet = s.signed("["), int(s.num(",", math.MaxInt))
		c.Subscribed = s.num(",", 1) == 1
		s.must("]")
	})
	s.must(`,"metadata_changes":`)
	w.MetaDataChanges = list(s, 0, func(m *WatchMetaData) {
		m.At = s.signed(`{"at":`)
		s.must(",")
		s.metaData(&m.MetaData)
	})
	s.must("}")
}
