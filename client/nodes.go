package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxPage is how many rows a page has at most.
const maxPage = 1000

// NodeQuery chooses nodes. The zero value has all, by id. Of a list, one match is enough.
type NodeQuery struct {
	Client     []string // such as lighthouse
	Version    []string // releases, such as v8.0.1
	Country    []string // ISO 3166 codes; "none" for nodes whose country is not known
	ASN        []uint32
	Hosting    []string // isp, hosting, business, education or unknown
	Cloud      []string // such as aws; "none" for nodes in no known cloud
	ForkDigest []string
	Flag       []string
	// Median of the estimate and width of its interval; nil is no bound.
	ValidatorsFrom, ValidatorsTo *float64
	WidthFrom, WidthTo           *float64
	AllSubnets                   *bool
	// Bounds of last_seen and first_seen, Unix milliseconds; 0 is none.
	From, To                   int64
	FirstSeenFrom, FirstSeenTo int64
	// Search is a peer id or node id, the beginning of one, a node record, or with a key an
	// IP address.
	Search string
	// Counted leaves out nodes that do not count in totals.
	Counted bool
	// Sort is a column, with "-" before it for the largest first.
	Sort string
	// Fields are the columns of the rows; none for all. Others have their zero value.
	Fields []string
	// PageSize is how many rows are asked for at once, up to 1000; 0 is 1000.
	PageSize int
}

func (q NodeQuery) values() url.Values {
	v := url.Values{}
	for name, list := range map[string][]string{
		"client": q.Client, "version": q.Version, "country": q.Country, "hosting": q.Hosting, "cloud": q.Cloud, "fork_digest": q.ForkDigest, "flag": q.Flag,
	} {
		for _, text := range list {
			v.Add(name, text)
		}
	}
	for _, n := range q.ASN {
		v.Add("asn", strconv.FormatUint(uint64(n), 10))
	}
	for name, bound := range map[string]*float64{
		"validators_from": q.ValidatorsFrom, "validators_to": q.ValidatorsTo, "width_from": q.WidthFrom, "width_to": q.WidthTo,
	} {
		if bound != nil {
			v.Set(name, strconv.FormatFloat(*bound, 'f', -1, 64))
		}
	}
	for name, at := range map[string]int64{"from": q.From, "to": q.To, "first_seen_from": q.FirstSeenFrom, "first_seen_to": q.FirstSeenTo} {
		setTime(v, name, at)
	}
	if q.AllSubnets != nil {
		v.Set("all_subnets", strconv.FormatBool(*q.AllSubnets))
	}
	if q.Counted {
		v.Set("counted", "true")
	}
	for name, text := range map[string]string{"q": q.Search, "sort": q.Sort, "fields": strings.Join(q.Fields, ",")} {
		if text != "" {
			v.Set(name, text)
		}
	}
	v.Set("limit", pageLimit(q.PageSize))
	return v
}

// pageLimit is the parameter limit for a page size, of which 0 is the largest.
func pageLimit(size int) string {
	if size <= 0 || size > maxPage {
		size = maxPage
	}
	return strconv.Itoa(size)
}

// setTime sets a time in Unix milliseconds; 0 is none.
func setTime(v url.Values, name string, at int64) {
	if at != 0 {
		v.Set(name, strconv.FormatInt(at, 10))
	}
}

// Nodes lists the nodes page by page, all as they were at the first page. After an error it ends.
// An Error with status 410 says that the server does not keep them any more, as after it was
// started again or when the reader takes minutes per page: the nodes that were listed are not
// all, and those of a new call are of another time.
func (c *Client) Nodes(ctx context.Context, q NodeQuery) iter.Seq2[Node, error] {
	return pages[Node](ctx, c, q.values(), "nodes")
}

// pages follows the pages of a list to the last one. It never begins again, since that would
// repeat rows.
func pages[T any](ctx context.Context, c *Client, query url.Values, path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		query := maps.Clone(query) // the sequence may be used again
		for listed := 0; ; {
			page, err := get[[]T](ctx, c, query, path)
			if gone := (*Error)(nil); listed > 0 && errors.As(err, &gone) && gone.Status == http.StatusGone {
				err = fmt.Errorf("the list ended early, after %d rows; list it again from the start: %w", listed, err)
			}
			if err != nil {
				yield(none, err)
				return
			}
			for _, row := range page.Data {
				if !yield(row, nil) {
					return
				}
			}
			listed += len(page.Data)
			next := page.Meta.Next
			if next == nil {
				return
			}
			if *next == query.Get("cursor") || len(page.Data) == 0 { // it would never end
				yield(none, errors.New("the server's next page is the same page again"))
				return
			}
			query.Set("cursor", *next)
		}
	}
}

// All has all rows of a list such as that of Nodes or Changes, listed again from the start, once,
// when the server does not keep the rest any more, such as after it was started again. After an
// error it has none.
func All[T any](list iter.Seq2[T, error]) ([]T, error) {
	rows, err := collect(list)
	if gone := (*Error)(nil); errors.As(err, &gone) && gone.Status == http.StatusGone {
		rows, err = collect(list)
	}
	return rows, err
}

func collect[T any](list iter.Seq2[T, error]) ([]T, error) {
	rows := []T{}
	for row, err := range list {
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// NodesPage is the first page of the nodes, whose Meta has their number.
func (c *Client) NodesPage(ctx context.Context, q NodeQuery) (Answer[[]Node], error) {
	return get[[]Node](ctx, c, q.values(), "nodes")
}
