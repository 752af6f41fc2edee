package bus

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// inbox converts the deliveries of a durable into Messages. It is for one goroutine.
type inbox struct {
	nc     *nats.Conn
	prefix string     // of the reply subjects of a server without domains
	space  []delivery // see keep
}

func (in *inbox) message(m *nats.Msg) Message {
	msg := Message{Subject: m.Subject, Key: m.Header.Get(jetstream.MsgIDHeader), Data: m.Data}
	d := delivery{in: in}
	if rest, ok := strings.CutPrefix(m.Reply, in.prefix); ok && d.numbers.parse(rest) {
		n := &d.numbers
		msg.Seq, msg.Time = n[streamSeq], time.Unix(0, int64(n[storedAt]))
	} else {
		d.reply = m.Reply
		if meta, err := m.Metadata(); err == nil {
			msg.Seq, msg.Time = meta.Sequence.Stream, meta.Timestamp
		}
	}
	msg.Delivery = in.keep(d)
	return msg
}

// keep allocates deliveries in blocks. A segment waits for its answers with hundreds of
// thousands of them, and one by one they would be most of the garbage collector's work.
func (in *inbox) keep(d delivery) *delivery {
	const together = 1024
	if len(in.space) == cap(in.space) {
		in.space = make([]delivery, 0, together)
	}
	in.space = append(in.space, d)
	return &in.space[len(in.space)-1]
}

// ackNumbers end a message's reply subject, joined by dots: deliveries, sequence in the
// stream and of the consumer, Unix nanoseconds, messages behind (NATS ADR-15).
type ackNumbers [5]uint64

const streamSeq, storedAt = 1, 3

// parse reads exactly what append writes.
func (n *ackNumbers) parse(text string) bool {
	for i := range n {
		number, rest, more := strings.Cut(text, ".")
		v, err := strconv.ParseUint(number, 10, 64)
		if err != nil || len(number) > 1 && number[0] == '0' || more != (i < len(n)-1) {
			return false
		}
		n[i], text = v, rest
	}
	return true
}

func (n *ackNumbers) append(b []byte) []byte {
	for i, v := range n {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, v, 10)
	}
	return b
}

// delivery answers on a message's reply subject (JetStream's ack protocol, as
// jetstream.Msg does) without keeping the message.
type delivery struct {
	in      *inbox
	numbers ackNumbers
	reply   string // when it is not the prefix and the numbers
}

func (d *delivery) Ack() error  { return d.answer("+ACK") }
func (d *delivery) Term() error { return d.answer("+TERM") }

func (d *delivery) Nak(delay time.Duration) error {
	return d.answer(`-NAK {"delay": ` + strconv.FormatInt(int64(delay), 10) + `}`)
}

func (d *delivery) answer(body string) error {
	to := d.reply
	if to == "" {
		to = string(d.numbers.append([]byte(d.in.prefix)))
	}
	if err := d.in.nc.Publish(to, []byte(body)); err != nil {
		return fmt.Errorf("answer %s to %s: %w", body, to, err)
	}
	return nil
}
