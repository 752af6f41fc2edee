package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	// maxPrepared is how many orders of a view are made before somebody asks for them: those
	// that were asked for in the last view and within preparedFor.
	maxPrepared = 6
	preparedFor = 10 * time.Minute
)

// sorting is how rows are sorted: by a column and, where that is the same, by id. Nulls
// come last.
type sorting struct {
	column     *column
	descending bool
	full       bool // with the values that need a key
}

func (o sorting) spec() string {
	if o.descending {
		return "-" + o.column.name
	}
	return o.column.name
}

// sorting reads the parameter sort.
func (r *request) sorting() (o sorting) {
	spec := r.text("sort", 64)
	if spec == "" {
		spec = "id"
	}
	name, descending := strings.CutPrefix(spec, "-")
	o = sorting{descending: descending, full: r.caller.full}
	names := []string{}
	for _, c := range columnsFor(true) {
		if c.list {
			continue
		}
		if c.name == name {
			if c.keyed && !r.caller.full {
				p := newProblem(http.StatusForbidden, "sort=%s: sorting by an address needs a key", shorten(spec))
				p.Parameter = "sort"
				r.fail(p)
			}
			o.column = c
		}
		if !c.keyed || r.caller.full {
			names = append(names, c.name)
		}
	}
	if o.column == nil {
		r.fail(badParameter("sort", spec, "one of "+strings.Join(names, ", ")+", with - in front for the largest first", names...))
		o.column = &nodeColumns[0]
	}
	return o
}

// orders are the nodes of a view in the orders that were asked for.
type orders struct {
	mu   sync.Mutex
	made map[sorting]*order
}

type order struct {
	once  sync.Once
	nodes []int32 // places in view.nodes
	used  time.Time
}

// sorted gives the places of the nodes in an order.
func (v *view) sorted(by sorting) []int32 {
	v.orders.mu.Lock()
	o := v.orders.made[by]
	if o == nil {
		if v.orders.made == nil {
			v.orders.made = map[sorting]*order{}
		}
		o = &order{}
		v.orders.made[by] = o
	}
	o.used = time.Now()
	v.orders.mu.Unlock()
	o.once.Do(func() { o.nodes = v.sort(by) })
	return o.nodes
}

func (v *view) sort(by sorting) []int32 {
	type keyed struct {
		at  int32
		key value
	}
	all := make([]keyed, len(v.nodes))
	for i := range v.nodes {
		all[i] = keyed{int32(i), by.column.at(&v.nodes[i], by.full)}
	}
	slices.SortFunc(all, func(a, b keyed) int {
		if c := a.key.compare(b.key, by.descending); c != 0 {
			return c
		}
		return int(a.at - b.at) // nodes are sorted by id
	})
	out := make([]int32, len(all))
	for i, k := range all {
		out[i] = k.at
	}
	return out
}

// recent are the orders that are in use, with the times of their last use.
func (o *orders) recent() map[sorting]time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[sorting]time.Time{}
	for by, made := range o.made {
		if time.Since(made.used) < preparedFor {
			out[by] = made.used
		}
	}
	return out
}

// prepare makes the orders that were used last, before anybody asks for them.
func (o *orders) prepare(v *view, recent map[sorting]time.Time) {
	by := []sorting{}
	for sorting := range recent {
		by = append(by, sorting)
	}
	slices.SortFunc(by, func(a, b sorting) int { return recent[b].Compare(recent[a]) })
	for _, sorting := range by[:min(maxPrepared, len(by))] {
		v.sorted(sorting)
		o.made[sorting].used = recent[sorting]
	}
}

// cursor is where a page ends: the sort key and the id of its last row. It means the same
// in every view.
type cursor struct {
	Sort string          `json:"s"`
	ID   string          `json:"i"`
	Key  json.RawMessage `json:"k"`
}

// cursorOf is the cursor behind a row.
func cursorOf(n *node, by sorting) string {
	data := marshal(cursor{by.spec(), n.ID, by.column.at(n, by.full).appendJSON(nil)})
	return base64.RawURLEncoding.EncodeToString(data)
}

// after finds where a cursor's page begins among the nodes in an order.
func (v *view) after(text string, by sorting, nodes []int32) (int, *problem) {
	bad := badParameter("cursor", text, "meta.next of an answer to the same request")
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return 0, bad
	}
	var c cursor
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if dec.Decode(&c) != nil {
		return 0, bad
	}
	if c.Sort != by.spec() {
		return 0, badParameter("cursor", text, "meta.next of an answer with the same sort: this one is of sort="+shorten(c.Sort))
	}
	key, ok := parseValue(c.Key)
	if !ok {
		return 0, bad
	}
	return sort.Search(len(nodes), func(i int) bool {
		n := &v.nodes[nodes[i]]
		own := by.column.at(n, by.full)
		// A whole number in JSON may be of a column of any numbers.
		if own.kind == kindFloat && key.kind == kindInt {
			key = value{kind: kindFloat, f: float64(key.n)}
		}
		if d := own.compare(key, by.descending); d != 0 {
			return d > 0
		}
		return n.ID > c.ID
	}), nil
}

// parseValue reads a value that is no list.
func parseValue(data []byte) (value, bool) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return value{}, false
	}
	switch v := v.(type) {
	case nil:
		return value{}, true
	case bool:
		return boolean(v), true
	case string:
		return value{kind: kindText, s: v}, true
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return value{kind: kindInt, n: n}, true
		}
		f, err := v.Float64()
		return float(f), err == nil
	}
	return value{}, false
}
