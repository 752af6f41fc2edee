package consumer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/chainbound/valtrack/internal/bus"
)

// RejectedFile is the file in the data directory that keeps invalid events.
const RejectedFile = "rejected_events.ndjson"

// rejectedEvent is one line of RejectedFile.
type rejectedEvent struct {
	Time    int64  `json:"time"` // of the rejection, Unix milliseconds
	Reason  string `json:"reason"`
	Subject string `json:"subject"`
	Key     string `json:"key,omitempty"`
	Seq     uint64 `json:"stream_seq"`
	// Payload is the message as text, PayloadBase64 when it is not UTF-8.
	Payload       string `json:"payload,omitempty"`
	PayloadBase64 []byte `json:"payload_base64,omitempty"`
}

// rejectedFile is appended to, a line a rejected event, each on the disk before
// its message is ended.
type rejectedFile struct {
	file *os.File
}

func openRejected(dir string) (*rejectedFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, RejectedFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("rejected events: %w", err)
	}
	return &rejectedFile{file: f}, nil
}

func (r *rejectedFile) append(m bus.Message, reason error) error {
	line := rejectedEvent{
		Time: time.Now().UnixMilli(), Reason: reason.Error(),
		Subject: m.Subject, Key: m.Key, Seq: m.Seq,
	}
	if utf8.Valid(m.Data) {
		line.Payload = string(m.Data)
	} else {
		line.PayloadBase64 = m.Data
	}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("rejected event %s: %w", m.Key, err)
	}
	b = append(b, '\n')
	size, err := r.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("rejected events: %w", err)
	}
	if _, err := r.file.Write(b); err != nil {
		// Half a line would spoil the next one.
		return fmt.Errorf("rejected events: %w", errors.Join(err, r.file.Truncate(size)))
	}
	if err := r.file.Sync(); err != nil {
		return fmt.Errorf("rejected events: %w", err)
	}
	return nil
}

func (r *rejectedFile) Close() error { return r.file.Close() }
