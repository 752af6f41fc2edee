package dune

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/chainbound/valtrack/client"
)

const (
	// batchRows and batchBytes bound what one request inserts.
	batchRows  = 10_000
	batchBytes = 8 << 20
	// fills is how many tables are begun at most to get one that is filled for certain.
	fills = 3
	// leftFor is how old a table that nobody reads must be to be deleted: another process may
	// be filling a younger one.
	leftFor = time.Hour
	// stampLayout is in the names of tables.
	stampLayout = "20060102_150405"
)

// Config says whom to publish as.
type Config struct {
	URL string // of Dune's API
	Key string
	// Namespace is the name of the user or team on Dune, Prefix the beginning of all names.
	Namespace, Prefix string
	HTTP              *http.Client // nil for one of the package's own
	Log               *slog.Logger
}

var (
	namespaces = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,63}$`)
	prefixes   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
)

// Check reports what is wrong with the configuration.
func (c Config) Check() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("URL of Dune %q: want an address such as %s", c.URL, DefaultURL)
	case !namespaces.MatchString(c.Namespace):
		return fmt.Errorf("namespace %q: want the name of a user or team on Dune, of lower-case letters, digits and underscores", c.Namespace)
	case !prefixes.MatchString(c.Prefix):
		return fmt.Errorf("prefix %q: want a letter and then at most 39 lower-case letters, digits and underscores, such as valtrack", c.Prefix)
	case c.Key == "":
		return errors.New("the API key of Dune is missing")
	}
	return nil
}

// Publisher publishes from an API of Valtrack.
type Publisher struct {
	cfg       Config
	api       *api
	source    *client.Client
	batchRows int
}

// New checks the configuration. The source must have no key: what it shows is published.
func New(cfg Config, source *client.Client) (*Publisher, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	sender := http.Client{}
	if cfg.HTTP != nil {
		sender = *cfg.HTTP
	}
	sender.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // which would get the key
	return &Publisher{cfg, &api{cfg.URL, cfg.Key, &sender}, source, batchRows}, nil
}

// Published is one table of a publication.
type Published struct {
	Name  string `json:"name"` // of the saved query
	Table string `json:"table"`
	Rows  int    `json:"rows"`
	Query int64  `json:"query"` // readers: SELECT ... FROM query_<number>
}

// Publish fills new tables, changes the saved queries to them, and deletes what is old. When
// it ends before that, readers go on with the tables of the publication before, and the
// next one deletes what was left.
func (p *Publisher) Publish(ctx context.Context) ([]Published, error) {
	head, err := p.source.Summary(ctx)
	if err != nil {
		return nil, err
	}
	if !head.Meta.Public {
		return nil, errNotPublic
	}
	saved, err := p.api.queries(ctx) // first: without the right to do this, nothing need be uploaded
	if err != nil {
		return nil, err
	}
	at := publication{time.Now(), head.Meta.Network, head.Meta.GeoSources}
	var out []Published
	all := tables(p.source, at)
	rows, err := readRows(ctx, all)
	if err != nil {
		return nil, err
	}
	for i, t := range all {
		name, err := p.fill(ctx, t, rows[i])
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.name, err)
		}
		out = append(out, Published{Name: p.cfg.Prefix + "_" + t.name, Table: name, Rows: len(rows[i])})
	}
	live := []string{}
	for i, t := range all {
		before, err := p.swap(ctx, saved, t, &out[i])
		if err != nil {
			return nil, fmt.Errorf("query %s: %w", out[i].Name, err)
		}
		live = append(live, out[i].Table, before)
	}
	p.clean(ctx, live)
	return out, nil
}

// readRows reads the rows of all tables before the first is uploaded: the API keeps the rest of a
// list for seconds, and an upload takes minutes.
func readRows(ctx context.Context, all []table) ([][][]byte, error) {
	rows := make([][][]byte, len(all))
	for i, t := range all {
		var err error
		if rows[i], err = t.rows(ctx); err == nil && len(rows[i]) == 0 {
			err = errors.New("the API has no rows for it yet: nothing was published")
		}
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	return rows, nil
}

// fill makes a table with all rows. When it is not known what a request did, the table is
// given up for another one.
func (p *Publisher) fill(ctx context.Context, t table, rows [][]byte) (name string, err error) {
	for range fills {
		name = fmt.Sprintf("%s_%s_%s_%04x", p.cfg.Prefix, t.name, time.Now().UTC().Format(stampLayout), rand.IntN(1<<16))
		err = p.fillOnce(ctx, t, name, rows)
		if !errors.Is(err, errUnclear) || ctx.Err() != nil {
			return name, err
		}
		p.cfg.Log.Warn("abandoned a half-filled table for a new one", slog.String("table", name), slog.Any("error", err))
	}
	return name, err
}

// fillOnce makes a table and inserts the rows in batches.
func (p *Publisher) fillOnce(ctx context.Context, t table, name string, lines [][]byte) error {
	if err := p.api.create(ctx, p.cfg.Namespace, name, t.description, t.schema); err != nil {
		return err
	}
	var batch []byte
	rows := 0
	for i, line := range lines {
		batch = append(append(batch, line...), '\n')
		rows++
		if i+1 < len(lines) && rows < p.batchRows && len(batch)+len(lines[i+1]) < batchBytes {
			continue
		}
		if err := p.api.insert(ctx, p.cfg.Namespace, name, rows, batch); err != nil {
			return err
		}
		batch, rows = batch[:0], 0
	}
	return nil
}

// swap changes the saved query of a table to the new one. It gives the table that the query
// was on, empty for none.
func (p *Publisher) swap(ctx context.Context, saved []query, t table, to *Published) (before string, err error) {
	sql := "SELECT * FROM dune." + p.cfg.Namespace + "." + to.Table
	if to.Query = find(saved, to.Name); to.Query == 0 {
		to.Query, err = p.api.createQuery(ctx, to.Name, t.description, sql)
		if !errors.Is(err, errUnclear) || ctx.Err() != nil {
			return "", err
		}
		// It may be there now.
		if saved, err = p.api.queries(ctx); err != nil {
			return "", err
		}
		if to.Query = find(saved, to.Name); to.Query == 0 {
			to.Query, err = p.api.createQuery(ctx, to.Name, t.description, sql)
			return "", err
		}
	}
	old, err := p.api.readQuery(ctx, to.Query)
	if err != nil {
		return "", err
	}
	if m := regexp.MustCompile(`dune\.` + p.cfg.Namespace + `\.([a-z0-9_]+)`).FindStringSubmatch(old); m != nil {
		before = m[1]
	}
	return before, p.api.updateQuery(ctx, to.Query, t.description, sql)
}

// find is the number of the first query of a name; 0 when there is none.
func find(saved []query, name string) (id int64) {
	for _, q := range saved {
		if q.Name == name && (id == 0 || q.ID < id) {
			id = q.ID
		}
	}
	return id
}

// clean deletes the tables of earlier publications, but for those that are read, or were until
// now: queries that run go on. What cannot be deleted is left for the next time.
func (p *Publisher) clean(ctx context.Context, keep []string) {
	names, err := p.api.tables(ctx, p.cfg.Namespace)
	ours := regexp.MustCompile(`^` + regexp.QuoteMeta(p.cfg.Prefix) + `_(?:nodes|groups|totals)_(\d{8}_\d{6})_[0-9a-f]{4}$`)
	for _, name := range names {
		m := ours.FindStringSubmatch(name)
		if m == nil || slices.Contains(keep, name) {
			continue
		}
		if made, badTime := time.Parse(stampLayout, m[1]); badTime == nil && time.Since(made) > leftFor {
			err = errors.Join(err, p.api.drop(ctx, p.cfg.Namespace, name))
		}
	}
	if err != nil {
		p.cfg.Log.Warn("old tables were not deleted: the next publication will try again", slog.Any("error", err))
	}
}
