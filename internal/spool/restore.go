package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/chainbound/valtrack/internal/crashpoint"
)

// restore reads what earlier processes have left.
func (s *Spool) restore() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	entries, err := os.ReadDir(s.cfg.Dir) // sorted by name
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if s.acks, err = openAckFile(s.cfg.Dir); err != nil {
		return err
	}
	s.acked = s.acks.saved
	s.nextSeq = s.acked.pos.seq + 1
	s.reader.moveTo(s.acked.pos.seq)
	for _, entry := range entries {
		path := filepath.Join(s.cfg.Dir, entry.Name())
		seq, ok := parseSegmentName(entry.Name())
		switch {
		case filepath.Ext(path) == ".tmp":
			os.Remove(path)
		case ok:
			if err := s.load(path, seq); err != nil {
				return errors.Join(err, s.acks.file.Close())
			}
		}
	}
	if s.acked.pos.index == 0 { // its frame is gone
		s.acked.pos = position{seq: s.acked.pos.seq}
	}
	if n := s.Stats().Events; n > 0 {
		s.cfg.Log.Info("found unsent events in the spool", slog.Int("events", n), slog.String("dir", s.cfg.Dir))
	}
	return nil
}

func (s *Spool) load(path string, seq uint64) error {
	s.nextSeq = max(s.nextSeq, seq+1)
	seg, torn, err := loadSegment(path, seq, s.acked.pos)
	if isTransient(err) {
		return err
	}
	if err != nil {
		s.quarantine(path, err)
		return nil
	}
	if seq < s.acked.pos.seq {
		seg.acked, seg.taken = seg.frames, seg.frames
	}
	if torn > 0 {
		s.cfg.Log.Warn("truncated the incomplete end of a spool segment, as after a power cut",
			slog.String("file", path), slog.Int64("bytes", torn), slog.Int("events_before", seg.frames))
	}
	switch {
	case seg.frames == 0:
		os.Remove(path)
		return nil
	case seg.acked == seg.frames: // kept for a broker that comes back without it
		seg.ackedAt = time.Now()
	}
	if seq == s.acked.pos.seq && seg.acked > 0 {
		s.acked.pos.index = seg.acked
		s.reader = reader{seq: seq, off: s.acked.pos.off, index: seg.acked}
	}
	s.segments = append(s.segments, seg)
	s.previous = seg.lastKey
	crashpoint.At("spool load")
	return nil
}
