package eventlog

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/chainbound/valtrack/internal/event"
)

// Publisher publishes events under the keys that they have.
type Publisher interface {
	Publish(ctx context.Context, e event.Encoded) error
}

// ReplayStats counts the lines of replayed files.
type ReplayStats struct {
	Published int `json:"published"`
	Bad       int `json:"bad"`
	// Known counts those published that the broker dropped, because it had them within
	// its window for duplicates. The caller sets it. An event that a consumer had
	// rejected has to be replayed again after the window, two minutes by default.
	Known uint64 `json:"known"`
}

// BadLine is a line that is not an event.
type BadLine struct {
	File string
	Line int
	Err  error
}

// errTorn marks a last line without its newline that is no whole event: the writer was
// killed while it wrote it.
var errTorn = errors.New("line is truncated")

// ErrNothingPublished is the error of a replay that found no event.
var ErrNothingPublished = errors.New("nothing was published")

// Replay publishes the events in log files, each line once under the key it has, so
// that replaying a file twice stores its events once. A line without a key gets one
// from the file's first line and its own number. Files of rejected events work too, and
// so do files that are compressed, and events that are indented or in an array. Events of
// the earlier program are converted and get the network, unless it is empty.
// Lines that are not events go to bad and are skipped; an unknown file name, a file that
// cannot be read, a failed publish or files without any event are an error.
func Replay(ctx context.Context, p Publisher, files []string, network string, bad func(BadLine)) (ReplayStats, error) {
	var stats ReplayStats
	subjects := make([]string, len(files))
	for i, file := range files { // all names before the first event is sent
		if subjects[i] = subjectOf(file); subjects[i] == "" {
			return stats, fmt.Errorf("replay %s: the name must begin with discovery_events, metadata_events, visit_events or rejected_events", file)
		}
	}
	for i, file := range files {
		r := &replayer{publisher: p, file: file, subject: subjects[i], network: network, stats: &stats, bad: bad}
		if err := r.run(ctx); err != nil {
			return stats, fmt.Errorf("replay: %w", err)
		}
	}
	if stats.Published == 0 {
		return stats, fmt.Errorf("replay: %w: %d lines are not events", ErrNothingPublished, stats.Bad)
	}
	return stats, nil
}

// rejectedSubject takes the place of the subject of a file whose lines have one each.
const rejectedSubject = "rejected"

// subjectOf derives the event type from a file's name: metadata_events.log, and also
// metadata_events.log.1 or metadata_events-2026-11-22.log.
func subjectOf(file string) string {
	name := filepath.Base(file)
	if strings.HasPrefix(name, strings.TrimSuffix(RejectedName, ".ndjson")) {
		return rejectedSubject
	}
	for _, subject := range event.Subjects() {
		if strings.HasPrefix(name, strings.TrimSuffix(fileName(subject), ".log")) {
			return subject
		}
	}
	return ""
}

// replayer publishes the events of a file.
type replayer struct {
	publisher     Publisher
	file, subject string
	network       string // of the earlier program's events; may be empty
	key           string // in place of a sentry in keys; set by the first line
	stats         *ReplayStats
	bad           func(BadLine)
}

func (r *replayer) run(ctx context.Context) error {
	in, err := openInput(r.file)
	if err != nil {
		return err
	}
	defer in.Close()
	limit := event.MaxSize + 4096 // the key needs some room
	if r.subject == rejectedSubject {
		limit = maxRejectedLine
	}
	if err := in.each(limit, func(rec record) error { return r.publish(ctx, rec) }); err != nil {
		return fmt.Errorf("%s: %w", r.file, err)
	}
	return nil
}

func (r *replayer) publish(ctx context.Context, rec record) error {
	rec.Text = bytes.TrimSpace(rec.Text)
	if r.key == "" {
		r.key = keyOfFile(r.subject, rec.Text)
	}
	if !rec.TooLong && rec.err == nil && len(rec.Text) == 0 {
		return nil
	}
	e, err := r.parse(rec)
	if err != nil {
		r.stats.Bad++
		r.bad(BadLine{File: r.file, Line: rec.Number, Err: err})
		return nil //nolint:nilerr // it is reported
	}
	if e.Key == "" {
		e.Key = event.Key{Sentry: r.key, Counter: uint64(rec.counter)}.String()
	}
	switch err := r.publisher.Publish(ctx, e); {
	case errors.Is(err, event.ErrInvalid): // such as larger than the broker accepts
		r.stats.Bad++
		r.bad(BadLine{File: r.file, Line: rec.Number, Err: err})
		return nil
	case err != nil:
		return fmt.Errorf("line %d: %w", rec.Number, err)
	}
	r.stats.Published++
	return nil
}

// keyOfFile takes the place of the sentry in keys of lines that have none: the same for
// every replay of the file, also after lines were appended.
func keyOfFile(subject string, firstLine []byte) string {
	sum := sha256.Sum256(append([]byte(subject+"\n"), firstLine...))
	return "file-" + hex.EncodeToString(sum[:8])
}

// parse checks the record's event and returns what to publish. The key is empty when
// the record has none.
func (r *replayer) parse(rec record) (e event.Encoded, err error) {
	switch {
	case rec.err != nil:
		return e, fmt.Errorf("the rest of the file is skipped: %w", rec.err)
	case rec.TooLong:
		return e, bufio.ErrTooLong
	case r.subject == rejectedSubject:
		e, err = parseRejected(rec.Text)
	default:
		e = event.Encoded{Subject: r.subject, Data: withoutKey(rec.Text)}
		if e.Key, err = checkLine(r.subject, rec.Text); err != nil {
			e, err = r.parseEarlier(rec.Text, err)
		}
	}
	if err != nil && rec.Torn {
		err = fmt.Errorf("%w: %w", errTorn, err)
	}
	return e, err
}

// parseEarlier reads a line that is no event of today: invalid says why.
func (r *replayer) parseEarlier(text []byte, invalid error) (event.Encoded, error) {
	old, ok, err := fromEarlier(r.subject, r.network, text)
	switch {
	case !ok:
		return event.Encoded{}, invalid
	case err != nil:
		return event.Encoded{}, err
	}
	data, err := event.Encode(old)
	return event.Encoded{Subject: r.subject, Data: data}, err
}

// checkLine validates a line and returns its key, "" when it has none.
func checkLine(subject string, text []byte) (string, error) {
	if _, err := event.Decode(subject, withoutKey(text)); err != nil {
		return "", err
	}
	var line struct {
		Key string `json:"event_key"`
	}
	if err := json.Unmarshal(text, &line); err != nil {
		return "", fmt.Errorf("%w: %s: %w", event.ErrInvalid, keyField, err)
	}
	if line.Key == "" {
		return "", nil
	}
	if _, err := event.ParseKey(line.Key); err != nil {
		return "", fmt.Errorf("%w: %w", event.ErrInvalid, err)
	}
	return line.Key, nil
}

// withoutKey returns a copy of the line without the key that Writer puts first.
// Elsewhere the key may stay: decoders ignore unknown fields.
func withoutKey(text []byte) []byte {
	rest, ok := bytes.CutPrefix(text, []byte(`{"`+keyField+`":"`))
	if !ok {
		return bytes.Clone(text)
	}
	end := bytes.Index(rest, []byte(`",`))
	if end < 0 || bytes.ContainsRune(rest[:end], '\\') {
		return bytes.Clone(text)
	}
	out := make([]byte, 0, len(rest)-end)
	return append(append(out, '{'), rest[end+2:]...)
}
