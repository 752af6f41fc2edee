package client

import (
	"context"
	"io"
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

// Observations has a node's subscriptions and estimates between two times, which are at most
// a day apart, in Unix milliseconds; 0 is no bound.
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
	Step     string   // 1h, 6h or 1d
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

// Changes lists what changed since a time, Unix milliseconds, at most 30 days ago; 0 is a
// day ago. Without kinds it has all.
func (c *Client) Changes(ctx context.Context, since int64, kinds ...string) (Answer[[]Change], error) {
	query := url.Values{}
	setTime(query, "since", since)
	for _, kind := range kinds {
		query.Add("kind", kind)
	}
	return get[[]Change](ctx, c, query, "changes")
}

// Crawl says how the crawl goes.
func (c *Client) Crawl(ctx context.Context) (Answer[Crawl], error) {
	return get[Crawl](ctx, c, nil, "crawl")
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
