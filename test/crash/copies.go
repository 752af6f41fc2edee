package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/chainbound/valtrack/internal/clickhouse"
	"github.com/chainbound/valtrack/internal/clickhouse/clickhousetest"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/mirror"
	"github.com/chainbound/valtrack/internal/mirror/mirrortest"
)

// Roles of what the consumers of regions copy to.
const (
	clickhouseRole role = "clickhouse"
	objectsRole    role = "object-store"
)

// copies are a ClickHouse and an object store, which both consumers copy to. They are outside of
// all regions, at the bridge: a region that is cut off has neither. A nil *copies has nothing.
type copies struct {
	dir        string
	clickhouse *clickhousetest.Server
	objects    *mirrortest.Server
}

func newCopies(dir string) (*copies, error) {
	c := &copies{dir: dir}
	return c, errors.Join(os.MkdirAll(c.path(clickhouseRole), 0o755), os.MkdirAll(c.path(objectsRole), 0o755))
}

func (c *copies) path(who role) string { return filepath.Join(c.dir, string(who)) }

func (c *copies) has(who role) bool {
	return c != nil && (who == clickhouseRole || who == objectsRole)
}

// start starts one, at the address that it had before.
func (c *copies) start(ctx context.Context, who role) (err error) {
	host, _, err := net.ParseCIDR(hostAddress)
	switch {
	case err != nil:
	case who == clickhouseRole && c.clickhouse == nil:
		c.clickhouse, err = clickhousetest.Start(ctx, host.String(), c.path(who))
	case who == clickhouseRole:
		err = c.clickhouse.Restart(ctx)
	case c.objects == nil:
		c.objects, err = mirrortest.StartOn(ctx, host.String(), c.path(who))
	default:
		err = c.objects.Restart(ctx)
	}
	return err
}

func (c *copies) kill(who role) {
	if who == clickhouseRole {
		c.clickhouse.Kill()
		return
	}
	c.objects.Kill()
}

func (c *copies) killAll() {
	if c == nil {
		return
	}
	if c.clickhouse != nil {
		c.clickhouse.Kill()
	}
	if c.objects != nil {
		c.objects.Kill()
	}
}

// options are those of a consumer.
func (c *copies) options(who role) []string {
	if c == nil {
		return nil
	}
	return []string{"--clickhouse", c.clickhouse.URL(), "--mirror", c.bucket(who)}
}

func (c *copies) bucket(who role) string { return c.objects.URL() + "/" + string(who) }

func (c *copies) environ(p program) program {
	if c != nil {
		p.env = append(append([]string{}, p.env...), "AWS_ACCESS_KEY_ID="+mirrortest.Key, "AWS_SECRET_ACCESS_KEY="+mirrortest.Secret)
	}
	return p
}

// copyPoll is how often the copies are counted, which takes the machine's time too.
const copyPoll = 2 * time.Second

// awaitCopies waits until the copies of both consumers have the rows of their datasets.
func (r *regions) awaitCopies(ctx context.Context) error {
	if r.copies == nil {
		return nil
	}
	for deadline := time.Now().Add(regionPatience); ; {
		differ := error(nil)
		for i, w := range r.consumers {
			differ = errors.Join(differ, r.copies.behind(ctx, consumerOf(i+1), w.data))
		}
		if differ == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w\n%s\n%s", differ, r.procs[consumerOf(1)].tail(), r.procs[consumerOf(2)].tail())
		}
		if err := errors.Join(r.check(), pause(ctx, copyPoll)); err != nil {
			return err
		}
	}
}

// behind is an error while a copy of a consumer has other numbers of rows than the datasets.
func (c *copies) behind(ctx context.Context, who role, dir string) error {
	own, err := datasetRows(dir)
	if err != nil {
		return err
	}
	for _, of := range []func(context.Context, role) (map[string]tableSum, error){c.clickhouseSums, c.manifestRows} {
		have, err := of(ctx, who)
		if err != nil {
			return err
		}
		for table, want := range own {
			if have[table].rows != want.rows {
				return fmt.Errorf("a copy of %s has %d rows of %s, the datasets have %d", who, have[table].rows, table, want.rows)
			}
		}
	}
	return nil
}

// datasetRows counts the rows of the datasets that a consumer is writing. A part may be merged
// into another meanwhile, which is an error.
func datasetRows(dir string) (map[string]tableSum, error) {
	now := time.Now()
	s, err := dataset.TakeSnapshot(dir, now.Add(time.Hour), now)
	if err != nil {
		return nil, err
	}
	return rowsOf(s.Parts), nil
}

func rowsOf(parts []dataset.Part) map[string]tableSum {
	out := map[string]tableSum{}
	for _, p := range parts {
		out[p.Table] = tableSum{rows: out[p.Table].rows + int(p.Rows)}
	}
	return out
}

// stores are the copies of a consumer.
func (c *copies) stores(consumer int) []store {
	if c == nil {
		return nil
	}
	who := consumerOf(consumer)
	return []store{
		{string(clickhouseRole), consumer, func(ctx context.Context) (map[string]tableSum, error) { return c.clickhouseSums(ctx, who) }},
		{string(objectsRole), consumer, func(ctx context.Context) (map[string]tableSum, error) { return c.restoredSums(ctx, who) }},
	}
}

func (c *copies) clickhouseSums(ctx context.Context, who role) (map[string]tableSum, error) {
	return clickhouseSums(ctx, c.clickhouse, string(who))
}

// clickhouseSums are those of a source in ClickHouse.
func clickhouseSums(ctx context.Context, server *clickhousetest.Server, source string) (map[string]tableSum, error) {
	out := map[string]tableSum{}
	for _, table := range dataset.Tables() {
		lines, err := server.Query(ctx, fmt.Sprintf("SELECT count(), sum(timestamp) FROM %s.%s WHERE source = '%s'", clickhouse.DefaultDatabase, table, source))
		if err != nil {
			return nil, err
		}
		rows, times, _ := strings.Cut(lines[0], "\t")
		s := tableSum{}
		if s.rows, err = strconv.Atoi(rows); err == nil {
			s.times, err = strconv.ParseInt(times, 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("count of %s: %w", table, err)
		}
		out[table] = s
	}
	return out, nil
}

func (c *copies) open(ctx context.Context, who role) (*mirror.Copy, error) {
	at, err := mirror.ParseLocation(c.bucket(who))
	if err != nil {
		return nil, err
	}
	return mirror.OpenCopy(ctx, at, credentials.NewStaticV4(mirrortest.Key, mirrortest.Secret, ""))
}

// manifestRows are those of a consumer's copy in the object store.
func (c *copies) manifestRows(ctx context.Context, who role) (map[string]tableSum, error) {
	found, err := c.open(ctx, who)
	if err != nil {
		return nil, err
	}
	var parts []dataset.Part
	for _, e := range found.Parts {
		parts = append(parts, e.Part)
	}
	return rowsOf(parts), nil
}

// restoredSums are those of the data directory that is made of a consumer's copy.
func (c *copies) restoredSums(ctx context.Context, who role) (map[string]tableSum, error) {
	found, err := c.open(ctx, who)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.dir, "restored-"+string(who))
	if err := found.Check(ctx); err != nil {
		return nil, err
	}
	if _, err := found.Restore(ctx, dir, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	return datasetSums(ctx, dir)
}
