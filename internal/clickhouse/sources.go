package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
)

// claim is a row of the table sources: which data directory the rows of a source are of. The one
// with the highest number counts; a directory makes one each time that its consumer connects first.
type claim struct {
	source, directory string
	number            uint64
}

// errRefused marks what goes on only when somebody has decided something.
var errRefused = errors.New("nothing is copied until that is decided")

// claims are the newest of each source and directory.
func (s *schema) claims(ctx context.Context, c *conn) (out []claim, err error) {
	rows, err := c.rows(ctx, "SELECT source, directory, max(number) FROM "+s.table(sourcesTable)+" GROUP BY source, directory")
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if len(row) != 3 {
			return nil, fmt.Errorf("ClickHouse at %s: a row of %s has %d columns", c.endpoint, sourcesTable, len(row))
		}
		n, err := strconv.ParseUint(fmt.Sprint(row[2]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("ClickHouse at %s: a claim without a number: %w", c.endpoint, err)
		}
		out = append(out, claim{fmt.Sprint(row[0]), fmt.Sprint(row[1]), n})
	}
	return out, nil
}

// holder is the claim that counts for a source; its number is 0 when there is none.
func holder(claims []claim, source string) (out claim) {
	for _, c := range claims {
		if c.source == source && (c.number > out.number || c.number == out.number && c.directory < out.directory) {
			out = c
		}
	}
	return out
}

// claim makes the source the data directory's own, and then only looks whether it still is: two
// directories under one source would replace each other's rows.
func (s *Sink) claim(ctx context.Context, schema *schema) error {
	st := s.state
	claims, err := schema.claims(ctx, s.conn)
	if err != nil {
		return err
	}
	if st.New {
		st.adopt(claims, s.log)
	}
	held := holder(claims, st.Source)
	switch {
	case held.number == 0 && st.New:
		err = s.mayBegin(ctx, schema, claims)
	case held.number == 0, st.TakeOver:
	case held.directory != st.Directory:
		err = s.refuse("source %s is the copy of another data directory (%.100q, this one is %q): give each consumer a --name or a database of its own; or, if this directory continues that one, as after a restore, %s",
			st.Source, held.directory, st.Directory, s.remedy(st.Source))
	case st.Claim > 0 && held.number > st.Claim:
		err = s.refuse("source %s was continued by another copy of this data directory (connection %d, this one knows of %d): if this one is to go on, %s",
			st.Source, held.number, st.Claim, s.remedy(st.Source))
	}
	if err != nil || s.claimed && held.number > 0 {
		return err
	}
	// The file first: after a crash the directory recognises both claims as its own.
	st.Claim = max(held.number, st.Claim) + 1
	if err := st.write(s.writer.Dir()); err != nil {
		return err
	}
	if err := s.conn.exec(ctx, fmt.Sprintf("INSERT INTO %s (source, directory, number, at) SELECT %s, %s, %d, now()",
		schema.table(sourcesTable), quote(st.Source), quote(st.Directory), st.Claim)); err != nil {
		return err
	}
	if claims, err = schema.claims(ctx, s.conn); err != nil {
		return err
	}
	if held = holder(claims, st.Source); held != (claim{st.Source, st.Directory, st.Claim}) {
		return fmt.Errorf("ClickHouse at %s: source %s is that of data directory %.100q (connection %d) after ours (%q, %d) was stored", s.conn.endpoint, st.Source, held.directory, held.number, st.Directory, st.Claim)
	}
	st.New, st.Existing, st.TakeOver = false, false, false
	s.claimed = true
	return st.write(s.writer.Dir())
}

// adopt gives a state whose file was lost the source that the directory had.
func (s *state) adopt(claims []claim, log *slog.Logger) {
	var own claim
	for _, c := range claims {
		if c.directory == s.Directory && c.number > own.number {
			own = c
		}
	}
	if own.number > 0 && own.source != s.Source {
		log.Warn("ClickHouse has this data directory's rows under another source: continuing with that", slog.String("source", own.source), slog.String("durable", s.Source))
		s.Source = own.source
	}
}

// mayBegin refuses to begin a copy that the server may have already: of a directory with rows
// whose file was lost, or of another directory, from before there were claims.
func (s *Sink) mayBegin(ctx context.Context, schema *schema, claims []claim) error {
	st := s.state
	found := map[string]bool{}
	for _, c := range claims {
		found[c.source] = true
	}
	for _, t := range schema.tables {
		rows, err := s.conn.rows(ctx, "SELECT source FROM "+schema.table(t.name)+" GROUP BY source")
		if err != nil {
			return err
		}
		for _, row := range rows {
			if len(row) == 1 {
				found[fmt.Sprint(row[0])] = true
			}
		}
	}
	if !found[st.Source] && (!st.Existing || len(found) == 0) {
		return nil
	}
	const shown = 10
	names := slices.Sorted(maps.Keys(found))
	return s.refuse("it has rows of %.100q, and it is not known whether these are of this data directory, which has no %s of an earlier copy: if they are, %s, with that name; to copy everything that is here, %s",
		names[:min(shown, len(names))], stateFile, s.remedy("NAME"), s.remedy(st.Source))
}

func (s *Sink) refuse(format string, args ...any) error {
	return fmt.Errorf("ClickHouse at %s, database %s: %s: %w", s.conn.endpoint, s.target.database, fmt.Sprintf(format, args...), errRefused)
}

// remedy is what to do to copy under a source that is another's so far.
func (s *Sink) remedy(source string) string {
	return fmt.Sprintf(`stop the consumer, write {"source": %q} to %s, and start it`, source, filepath.Join(s.writer.Dir(), stateFile))
}
