package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/quic-go/quic-go"

	"github.com/chainbound/valtrack/internal/event"
)

var (
	// ErrAlreadyConnected means that a session with the peer exists, or that the
	// peer connected to us during the dial.
	ErrAlreadyConnected = errors.New("already connected")
	// ErrTooManyConnections means that MaxConnections is reached.
	ErrTooManyConnections = errors.New("too many connections")
	// errNoAddress means that a target has no address that may be dialled.
	errNoAddress = errors.New("no address to dial")
	// ErrClosed means that we closed the session or the host.
	ErrClosed = errors.New("session closed")
	// ErrReset means that the connection or the stream broke, or that the peer
	// closed it.
	ErrReset = errors.New("connection reset")
	// ErrUnsupported means that the peer supports no version of a protocol.
	ErrUnsupported = errors.New("protocol not supported")
	// ErrNoHello means that no gossip hello came in time.
	ErrNoHello = errors.New("no gossip hello")
	// errStreamFlood means that the peer opened more streams than any client has a reason to.
	errStreamFlood = fmt.Errorf("%w: too many streams", errMalformed)
	// errNoIdentify means that identify failed.
	errNoIdentify = errors.New("peer did not identify itself")
)

// operation names what a session was doing when an error occurred.
type operation string

// The operations of a session.
const (
	opIdentify operation = "identify"
	opStatus   operation = "status"
	opMetaData operation = "metadata"
	opPing     operation = "ping"
	opHello    operation = "hello"
	opGoodbye  operation = "goodbye"
)

// requestError is the error of a session's operation.
type requestError struct {
	operation operation
	err       error
}

func (e *requestError) Error() string { return fmt.Sprintf("%s: %v", e.operation, e.err) }
func (e *requestError) Unwrap() error { return e.err }

// GoodbyeError means that the peer said goodbye before or while something failed.
type GoodbyeError struct {
	Code uint64
}

func (e *GoodbyeError) Error() string { return fmt.Sprintf("peer said goodbye, code %d", e.Code) }

// Outcome maps any error of this package to one of event's outcomes, OutcomeOK
// for nil. The caller decides whether a Status is of the wrong network.
func Outcome(err error) string {
	var goodbye *GoodbyeError
	var request *requestError
	var dial *swarm.DialError
	switch {
	case err == nil:
		return event.OutcomeOK
	case errors.As(err, &goodbye):
		return event.OutcomeGoodbye
	case errors.Is(err, context.Canceled), errors.Is(err, ErrClosed), errors.Is(err, ErrAlreadyConnected), isShortage(err):
		return event.OutcomeCanceled
	case errors.As(err, &request):
		return requestOutcome(request)
	case errors.As(err, &dial):
		return dialOutcome(dial)
	case errors.Is(err, errNoAddress):
		return event.OutcomeUnreachable
	case errors.Is(err, errMalformed):
		return event.OutcomeProtocol
	default:
		outcome, _ := causeOutcome(err)
		return outcome
	}
}

func requestOutcome(e *requestError) string {
	switch {
	case errors.Is(e.err, errMalformed):
		return event.OutcomeProtocol
	case errors.Is(e.err, ErrUnsupported):
		return event.OutcomeNegotiation
	case errors.Is(e.err, ErrReset):
		return event.OutcomeReset
	}
	switch e.operation {
	case opStatus:
		return event.OutcomeStatus
	case opMetaData:
		return event.OutcomeMetadata
	case opIdentify:
		return event.OutcomeNegotiation
	default:
		return event.OutcomeProtocol
	}
}

// dialOutcome uses the address that got furthest as the reason for the whole dial.
func dialOutcome(e *swarm.DialError) string {
	outcome, best := event.OutcomeUnreachable, -1
	for i := range e.DialErrors {
		if o, rank := causeOutcome(e.DialErrors[i].Cause); rank > best {
			outcome, best = o, rank
		}
	}
	return outcome
}

// causeOutcome classifies the failure of one address. The rank grows with how far
// the dial got.
func causeOutcome(err error) (outcome string, rank int) {
	var mismatch sec.ErrPeerIDMismatch
	var refused *quic.TransportError
	var closed *quic.ApplicationError
	switch {
	case errors.As(err, &mismatch):
		// Another node is at that address now: the peer of the record is not reachable.
		return event.OutcomeUnreachable, 5
	case errors.Is(err, syscall.ECONNREFUSED),
		errors.As(err, &refused) && refused.Remote && refused.ErrorCode == quic.ConnectionRefused:
		return event.OutcomeRefused, 3
	case isTimeout(err):
		return event.OutcomeDialTimeout, 2
	case isAny(err, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF, network.ErrReset, ErrReset),
		errors.As(err, &closed) && closed.Remote:
		return event.OutcomeReset, 4
	case isAny(err, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EINVAL,
		syscall.EACCES, syscall.EPERM, swarm.ErrNoTransport, swarm.ErrDialToSelf, swarm.ErrNoGoodAddresses,
		swarm.ErrNoAddresses, swarm.ErrGaterDisallowedConnection):
		return event.OutcomeUnreachable, 1
	default:
		return event.OutcomeNegotiation, 6
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return isAny(err, context.DeadlineExceeded, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
