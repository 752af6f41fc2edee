package dataset

import (
	"context"
	"errors"
	"fmt"
)

// Newest is the number of the newest committed segment; false when there is none.
func Newest(dataDir string) (segment uint64, ok bool, err error) { return committed(dataDir) }

// Handshakes calls each with the peer and the time of every row of metadata_events in the
// segments up to last whose clock is not known to be off. It leaves out damaged parts, which
// it recognises before each has any of their rows, and those that have later segments too.
func Handshakes(ctx context.Context, dataDir string, last uint64, each func(peer string, at int64)) error {
	type handshake struct {
		ID           string `parquet:"id,dict"`
		ClockErrorMS *int64 `parquet:"clock_error_ms,optional"`
		Timestamp    int64  `parquet:"timestamp,delta"`
	}
	parts, err := openTable(dataDir, Metadata)
	if err != nil || parts == nil {
		return err
	}
	defer parts.dir.Close()
	for _, s := range parts.live {
		if s.last > last {
			continue
		}
		f, err := parts.open(s)
		if err != nil {
			return err
		}
		if _, err = verifyPart[MetadataRow](ctx, f); err == nil {
			err = eachRowOf(ctx, f, func(h handshake) error {
				if h.ClockErrorMS == nil {
					each(h.ID, h.Timestamp)
				}
				return nil
			})
		}
		f.Close()
		if err != nil && !errors.Is(err, ErrDamaged) {
			return fmt.Errorf("read %s: %w", s.path(dataDir, Metadata), err)
		}
	}
	return nil
}
