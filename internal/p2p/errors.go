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
	// ErrAlreadyConnected tells that a session with the peer exists, or that the
	// peer connected to us during the dial.
	ErrAlreadyConnected = errors.New("already connected")
	// ErrTooManyConnections tells that MaxConnections is reached.
	ErrTooManyConnections = errors.New("too many connections")
	// ErrNoAddress tells that a target has no address that may be dialled.
	ErrNoAddress = errors.New("no address to dial")
	// ErrClosed tells that we closed the session or the host.
	ErrClosed = errors.New("session closed")
	// ErrReset tells that the connection or the stream broke, or that the peer
	// closed it.
	ErrReset = errors.New("connection reset")
	// ErrUnsupported tells that the peer speaks no version of a protocol.
	ErrUnsupported = errors.New("protocol not supported")
	// ErrNoHello tells that no gossip hello came in time.
	ErrNoHello = errors.New("no gossip hello")
	// ErrNoIdentify tells that identify failed.
	ErrNoIdentify = errors.New("peer did not identify itself")
)

// Op names what a session did when an error came.
type Op string

// The operations of a session.
const (
	OpIdentify Op = "identify"
	OpStatus   Op = "status"
	OpMetaData Op = "metadata"
	OpPing     Op = "ping"
	OpHello    Op = "hello"
	OpGoodbye  Op = "goodbye"
)

// RequestError is the error of a session's operation.
type RequestError struct {
	Op  Op
	Err error
}

func (e *RequestError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *RequestError) Unwrap() error { return e.Err }

// GoodbyeError tells that the peer said goodbye before or while something failed.
type GoodbyeError struct {
	Code uint64
}

func (e *GoodbyeError) Error() string { return fmt.Sprintf("peer said goodbye, code %d", e.Code) }

// Outcome maps any error of this package to one of event's outcomes, OutcomeOK
// for nil. Whether a Status is of the wrong network is the caller's to say.
func Outcome(err error) string {
	var goodbye *GoodbyeError
	var request *RequestError
	var dial *swarm.DialError
	switch {
	case err == nil:
		return event.OutcomeOK
	case errors.As(err, &goodbye):
		return event.OutcomeGoodbye
	case errors.Is(err, context.Canceled), errors.Is(err, ErrClosed), errors.Is(err, ErrAlreadyConnected), errors.Is(err, ErrTooManyConnections):
		return event.OutcomeCanceled
	case errors.As(err, &request):
		return requestOutcome(request)
	case errors.As(err, &dial):
		return dialOutcome(dial)
	case errors.Is(err, ErrNoAddress):
		return event.OutcomeUnreachable
	case errors.Is(err, ErrMalformed):
		return event.OutcomeProtocol
	default:
		outcome, _ := causeOutcome(err)
		return outcome
	}
}

func requestOutcome(e *RequestError) string {
	switch {
	case errors.Is(e.Err, ErrMalformed):
		return event.OutcomeProtocol
	case errors.Is(e.Err, ErrUnsupported):
		return event.OutcomeNegotiation
	case errors.Is(e.Err, ErrReset):
		return event.OutcomeReset
	}
	switch e.Op {
	case OpStatus:
		return event.OutcomeStatus
	case OpMetaData:
		return event.OutcomeMetadata
	case OpIdentify:
		return event.OutcomeNegotiation
	default:
		return event.OutcomeProtocol
	}
}

// dialOutcome takes the address that got furthest as the reason of the whole dial.
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
		// Another node lives there now: the peer of the record is not reachable.
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
