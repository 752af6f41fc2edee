package client

import (
	"context"
	"errors"
	"iter"
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
	size := q.PageSize
	if size <= 0 || size > maxPage {
		size = maxPage
	}
	v.Set("limit", strconv.Itoa(size))
	return v
}

// setTime sets a time in Unix milliseconds; 0 is none.
func setTime(v url.Values, name string, at int64) {
	if at != 0 {
		v.Set(name, strconv.FormatInt(at, 10))
	}
}

// Nodes lists the nodes page by page. After an error it ends. The rows stay consistent while
// data change: none is missing or repeated whose place in the order stays.
func (c *Client) Nodes(ctx context.Context, q NodeQuery) iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		values := q.values()
		for {
			page, err := get[[]Node](ctx, c, values, "nodes")
			if err != nil {
				yield(Node{}, err)
				return
			}
			for _, n := range page.Data {
				if !yield(n, nil) {
					return
				}
			}
			next := page.Meta.Next
			if next == nil {
				return
			}
			if *next == values.Get("cursor") || len(page.Data) == 0 { // it would never end
				yield(Node{}, errors.New("the server's next page is the same page again"))
				return
			}
			values.Set("cursor", *next)
		}
	}
}

// NodesPage is the first page of the nodes, whose Meta has their number.
func (c *Client) NodesPage(ctx context.Context, q NodeQuery) (Answer[[]Node], error) {
	return get[[]Node](ctx, c, q.values(), "nodes")
}
