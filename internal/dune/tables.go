package dune

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/client"
	"github.com/chainbound/valtrack/internal/eth2"
)

// Types of columns.
const (
	varchar   = "varchar"
	bigint    = "bigint"
	double    = "double"
	boolean   = "boolean"
	timestamp = "timestamp"
)

// column is one of a table. Only what is listed here is sent.
type column[R any] struct {
	name, kind string
	of         func(r R) any // nil is null
}

// table is one that is published.
type table struct {
	name, description string
	schema            []schemaColumn
	// rows reads all rows from the API, each encoded as JSON.
	rows func(ctx context.Context) ([][]byte, error)
}

// tableOf is a table whose rows are of one type.
func tableOf[R any](name, description string, at publication, columns []column[R], read func(ctx context.Context) ([]R, error)) table {
	t := table{name: name, description: description, schema: []schemaColumn{{"published_at", timestamp, false}, {"network", varchar, false}}}
	for _, c := range columns {
		t.schema = append(t.schema, schemaColumn{c.name, c.kind, true})
	}
	t.rows = func(ctx context.Context) ([][]byte, error) {
		rows, err := read(ctx)
		if err != nil {
			return nil, err
		}
		lines := make([][]byte, len(rows))
		for i, r := range rows {
			if lines[i], err = encode(at, columns, r); err != nil {
				return nil, err
			}
		}
		return lines, nil
	}
	return t
}

// publication is what all rows have in common.
type publication struct {
	at      time.Time
	network string
	sources []client.GeoSource
}

// places names what places and networks are from: licences ask for it where these are shown.
func (p publication) places() string {
	var parts []string
	for _, s := range p.sources {
		parts = append(parts, strings.Join(slices.DeleteFunc([]string{s.Name, s.URL, s.Licence}, func(text string) bool { return text == "" }), ", "))
	}
	if len(parts) == 0 {
		return ""
	}
	return ". Places and networks of addresses: " + strings.Join(parts, "; ")
}

func encode[R any](at publication, columns []column[R], r R) ([]byte, error) {
	row := map[string]any{"published_at": moment(at.at), "network": at.network}
	for _, c := range columns {
		v := c.of(r)
		if c.kind == varchar {
			v = withoutAddress(v)
		}
		row[c.name] = v
	}
	return json.Marshal(row)
}

// withoutAddress is a text or, when it has an address, null: a node chooses its agent, and may
// write one there.
func withoutAddress(v any) any {
	text, ok := v.(*string)
	if !ok || text == nil || eth2.HasAddress(*text) {
		return nil
	}
	return *text
}

// moment is a time as Dune reads it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// millis is a time in Unix milliseconds.
func millis(ms *int64) any {
	if ms == nil || *ms <= 0 {
		return nil
	}
	return moment(time.UnixMilli(*ms))
}

// joined is a list as text; null when it is not known.
func joined[T any](list []T, text func(T) string) *string {
	if list == nil {
		return nil
	}
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = text(v)
	}
	return new(strings.Join(parts, ","))
}

func nodeColumns() []column[client.Node] {
	type n = client.Node
	return []column[n]{
		{"id", varchar, func(r n) any { return &r.ID }}, {"node_id", varchar, func(r n) any { return r.NodeID }},
		{"client", varchar, func(r n) any { return r.Client }}, {"client_release", varchar, func(r n) any { return r.ClientRelease }},
		{"os", varchar, func(r n) any { return r.OS }}, {"arch", varchar, func(r n) any { return r.Arch }},
		{"validators", double, func(r n) any { return r.Validators }}, {"validators_low", double, func(r n) any { return r.ValidatorsLow }},
		{"validators_high", double, func(r n) any { return r.ValidatorsHigh }}, {"validators_mean", double, func(r n) any { return r.ValidatorsMean }},
		{"p_validator", double, func(r n) any { return r.PValidator }}, {"flags", varchar, func(r n) any { return joined(r.Flags, strings.Clone) }},
		{"trust", varchar, func(r n) any { return r.Trust }}, {"weight", double, func(r n) any { return r.Weight }},
		{"stake_eth", double, func(r n) any { return r.StakeETH }}, {"stake_low", double, func(r n) any { return r.StakeLow }}, {"stake_high", double, func(r n) any { return r.StakeHigh }},
		{"custody_group_count", bigint, func(r n) any { return r.CustodyGroupCount }}, {"all_subnets", boolean, func(r n) any { return r.AllSubnets }},
		{"observations", bigint, func(r n) any { return r.Observations }}, {"epochs_watched", double, func(r n) any { return r.EpochsWatched }},
		{"first_seen", timestamp, func(r n) any { return millis(r.FirstSeen) }}, {"last_seen", timestamp, func(r n) any { return millis(r.LastSeen) }},
		{"last_epoch", bigint, func(r n) any { return r.LastEpoch }}, {"last_outcome", varchar, func(r n) any { return r.LastOutcome }},
		{"direction", varchar, func(r n) any { return r.Direction }}, {"transport", varchar, func(r n) any { return r.Transport }},
		{"fork_digest", varchar, func(r n) any { return r.ForkDigest }}, {"next_fork_version", varchar, func(r n) any { return r.NextForkVersion }}, {"next_fork_epoch", bigint, func(r n) any { return r.NextForkEpoch }}, {"nfd", varchar, func(r n) any { return r.NFD }},
		{"long_lived_subnets", varchar, func(r n) any { return joined(r.LongLivedSubnets, strconv.Itoa) }},
		{"country", varchar, func(r n) any { return r.Country }}, {"country_code", varchar, func(r n) any { return r.CountryCode }},
		{"region", varchar, func(r n) any { return r.Region }}, {"city", varchar, func(r n) any { return r.City }},
		{"latitude", double, func(r n) any { return r.Latitude }}, {"longitude", double, func(r n) any { return r.Longitude }},
		{"asn", bigint, func(r n) any { return r.ASN }}, {"as_name", varchar, func(r n) any { return r.ASName }},
		{"hosting", varchar, func(r n) any { return r.Hosting }}, {"cloud", varchar, func(r n) any { return r.Cloud }},
	}
}

func groupColumns() []column[client.Group] {
	type g = client.Group
	return []column[g]{
		{"grouped_by", varchar, func(r g) any { return &r.By }}, {"name", varchar, func(r g) any { return r.Name }}, {"code", varchar, func(r g) any { return r.Code }},
		{"latitude", double, func(r g) any { return r.Latitude }}, {"longitude", double, func(r g) any { return r.Longitude }},
		{"nodes", bigint, func(r g) any { return r.Nodes }}, {"with_validators", double, func(r g) any { return r.WithValidators }},
		{"validators", double, func(r g) any { return r.Validators }}, {"validators_low", double, func(r g) any { return r.Low }}, {"validators_high", double, func(r g) any { return r.High }},
		{"stake_eth", double, func(r g) any { return r.StakeETH }}, {"share_nodes", double, func(r g) any { return r.ShareNodes }},
		{"share_validators", double, func(r g) any { return r.ShareValidators }}, {"share_validators_low", double, func(r g) any { return r.ShareLow }},
		{"share_validators_high", double, func(r g) any { return r.ShareHigh }},
	}
}

func totalColumns() []column[client.Point] {
	type p = client.Point
	return []column[p]{
		{"hour", timestamp, func(r p) any { return millis(r.Time) }}, {"nodes", double, func(r p) any { return r.Nodes }}, {"with_validators", double, func(r p) any { return r.WithValidators }},
		{"validators", double, func(r p) any { return r.Validators }}, {"validators_low", double, func(r p) any { return r.Low }}, {"validators_high", double, func(r p) any { return r.High }},
		{"stake_eth", double, func(r p) any { return r.StakeETH }}, {"stake_low", double, func(r p) any { return r.StakeLow }}, {"stake_high", double, func(r p) any { return r.StakeHigh }},
	}
}

// errNotPublic is that the API shows more than everybody may see.
var errNotPublic = errors.New("the API returned the view of a key: only the public view is published")

// tables are what is published.
func tables(source *client.Client, at publication) []table {
	return []table{
		tableOf("nodes", "Nodes of the Ethereum consensus network, with estimated validators (Valtrack)"+at.places(), at, nodeColumns(), func(ctx context.Context) ([]client.Node, error) {
			return client.All(source.Nodes(ctx, client.NodeQuery{}))
		}),
		tableOf("groups", "Nodes and estimated validators by country, city, network, hosting, client and release (Valtrack)"+at.places(), at, groupColumns(), func(ctx context.Context) (all []client.Group, _ error) {
			for _, list := range []string{client.Countries, client.Cities, client.Networks, client.Hosting, client.Clients} {
				answer, err := source.Groups(ctx, list)
				if err == nil && !answer.Meta.Public {
					err = errNotPublic
				}
				if err != nil {
					return nil, err
				}
				all = append(all, answer.Data...)
			}
			return all, nil
		}),
		tableOf("totals", "Totals of the Ethereum consensus network by the hour (Valtrack)", at, totalColumns(), func(ctx context.Context) ([]client.Point, error) {
			answer, err := source.Timeseries(ctx, client.TimeseriesQuery{Metric: []string{"nodes", "with_validators", "validators", "stake_eth"}})
			return answer.Data, err
		}),
	}
}
