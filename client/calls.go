package client

import (
	"context"
	"io"
	"iter"
	"net/url"
	"strconv"
)

// Summary has the totals with their intervals.
func (c *Client) Summary(ctx context.Context) (Answer[Summary], error) {
	return get[Summary](ctx, c, nil, "summary")
}

// Node has all that is known about one node, by its whole peer id or node id.
func (c *Client) Node(ctx context.Context, id string) (Answer[NodeDetail], error) {
	return get[NodeDetail](ctx, c, nil, "nodes", id)
}

// Observations has a node's subscriptions and estimates between two times in Unix milliseconds,
// 0 for no bound. An answer has at most a day: ask again up to its Meta.Earlier, until that is nil.
func (c *Client) Observations(ctx context.Context, id string, from, to int64) (Answer[Observations], error) {
	query := url.Values{}
	setTime(query, "from", from)
	setTime(query, "to", to)
	return get[Observations](ctx, c, query, "nodes", id, "observations")
}

// Lists of groups, for Groups.
const (
	Countries = "countries"
	Cities    = "cities"
	Networks  = "networks"
	Hosting   = "hosting" // by hosting type and by cloud
	Clients   = "clients" // by client, release, operating system and architecture
)

// Groups has nodes and validators by one property; list is one of the constants.
func (c *Client) Groups(ctx context.Context, list string) (Answer[[]Group], error) {
	return get[[]Group](ctx, c, nil, list)
}

// Subnets counts nodes by attestation subnet and by custody group count.
func (c *Client) Subnets(ctx context.Context) (Answer[Subnets], error) {
	return get[Subnets](ctx, c, nil, "subnets")
}

// Forks has the readiness for the next fork.
func (c *Client) Forks(ctx context.Context) (Answer[Forks], error) {
	return get[Forks](ctx, c, nil, "forks")
}

// Outcomes counts visits by how they ended.
func (c *Client) Outcomes(ctx context.Context) (Answer[[]Outcome], error) {
	return get[[]Outcome](ctx, c, nil, "errors")
}

// Concentration says how concentrated validators are.
func (c *Client) Concentration(ctx context.Context) (Answer[[]Concentration], error) {
	return get[[]Concentration](ctx, c, nil, "concentration")
}

// TimeseriesQuery chooses points of the timeseries; the zero value has all, by the hour.
type TimeseriesQuery struct {
	Metric   []string // none for all
	Step     string   // 1h, 6h, 1d, or all for each of the totals
	From, To int64    // Unix milliseconds; 0 is no bound
}

// Timeseries has totals over time, the oldest first.
func (c *Client) Timeseries(ctx context.Context, q TimeseriesQuery) (Answer[[]Point], error) {
	query := url.Values{}
	for _, m := range q.Metric {
		query.Add("metric", m)
	}
	if q.Step != "" {
		query.Set("step", q.Step)
	}
	setTime(query, "from", q.From)
	setTime(query, "to", q.To)
	return get[[]Point](ctx, c, query, "timeseries")
}

// ChangeQuery chooses changes; the zero value has those found within a day.
type ChangeQuery struct {
	// Since is the time from which on changes were found, Unix milliseconds, at most 30 days ago.
	Since int64
	// After is Meta.Latest of an answer: the changes found after it, the oldest first.
	After    string
	Kind     []string // none for all
	PageSize int      // as that of NodeQuery
}

func (q ChangeQuery) values() url.Values {
	v := url.Values{}
	setTime(v, "since", q.Since)
	if q.After != "" {
		v.Set("after", q.After)
	}
	for _, kind := range q.Kind {
		v.Add("kind", kind)
	}
	v.Set("limit", pageLimit(q.PageSize))
	return v
}

// Changes lists what changed page by page: those found last first, or the oldest first with
// After. After an error it ends.
func (c *Client) Changes(ctx context.Context, q ChangeQuery) iter.Seq2[Change, error] {
	return pages[Change](ctx, c, q.values(), "changes")
}

// ChangesPage is the first page of the changes. To follow them, ask again with Meta.Latest as
// After; as long as Meta.Next is not nil, there are more already. An Error with status 410 says
// that changes after it are not kept any more: then ask with Since.
func (c *Client) ChangesPage(ctx context.Context, q ChangeQuery) (Answer[[]Change], error) {
	return get[[]Change](ctx, c, q.values(), "changes")
}

// Crawl says how the crawl goes.
func (c *Client) Crawl(ctx context.Context) (Answer[Crawl], error) {
	return get[Crawl](ctx, c, nil, "crawl")
}

// Sentries compares the sentries over the last day.
func (c *Client) Sentries(ctx context.Context) (Answer[Sentries], error) {
	return get[Sentries](ctx, c, nil, "sentries")
}

// Datasets lists the datasets and their files.
func (c *Client) Datasets(ctx context.Context) (Answer[[]Dataset], error) {
	return get[[]Dataset](ctx, c, nil, "datasets")
}

// DatasetQuery chooses rows of a dataset and their format: ndjson, which is the default, csv or
// parquet.
type DatasetQuery struct {
	From, To int64 // Unix milliseconds; 0 is no bound
	Format   string
}

// Dataset has the rows of a dataset. The caller closes them; an error of Read means that they
// are not all.
func (c *Client) Dataset(ctx context.Context, table string, q DatasetQuery) (io.ReadCloser, error) {
	query := url.Values{}
	setTime(query, "from", q.From)
	setTime(query, "to", q.To)
	if q.Format != "" {
		query.Set("format", q.Format)
	}
	return c.download(ctx, query, "datasets", table)
}

// DatasetPart is one file of a dataset, as Datasets names it. The caller closes it.
func (c *Client) DatasetPart(ctx context.Context, table, part string) (io.ReadCloser, error) {
	return c.download(ctx, nil, "datasets", table, part)
}

// Snapshot is the whole public picture as one file, JSON compressed by gzip. The caller
// closes it.
func (c *Client) Snapshot(ctx context.Context) (io.ReadCloser, error) {
	return c.download(ctx, nil, "snapshot")
}

// ExportNodes has the nodes as one file: ndjson, csv, geojson or parquet, which has all
// columns. The caller closes it; an error of Read means that it is not whole.
func (c *Client) ExportNodes(ctx context.Context, q NodeQuery, format string) (io.ReadCloser, error) {
	query := q.values()
	query.Del("limit")
	if q.PageSize > 0 {
		query.Set("limit", strconv.Itoa(min(q.PageSize, maxPage)))
	}
	query.Set("format", format)
	return c.download(ctx, query, "nodes")
}
