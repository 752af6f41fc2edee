package clickhouse

import (
	"context"
	"fmt"
)

// Probe connects to a server and says what it finds. It changes nothing.
func Probe(ctx context.Context, cfg Config) (string, error) {
	t, err := cfg.target()
	if err != nil {
		return "", err
	}
	c := newConn(t)
	defer c.close()
	version, err := c.version(ctx)
	if err != nil {
		return "", err
	}
	s, err := newSchema(t, version)
	if err != nil {
		return "", err
	}
	tables, err := s.existing(ctx, c)
	if err != nil {
		return "", err
	}
	dialect := ""
	if !s.current {
		dialect = " (the dialect for old servers)"
	}
	return fmt.Sprintf("%s, version %s%s, database %s with %d tables", c.endpoint, version, dialect, t.database, len(tables)), nil
}
