package api

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxValues bounds how often one parameter may be repeated.
const maxValues = 64

// query reads the parameters of a request. The first error stays; done returns it, or the
// one about a parameter that nobody has read.
type query struct {
	values url.Values
	read   []string // names that were asked for
	err    *problem
}

func parseQuery(r *http.Request) *query {
	q := &query{}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		q.err = newProblem(http.StatusBadRequest, "the query cannot be parsed: %s", shorten(err.Error()))
	}
	q.values = values
	return q
}

func (q *query) fail(p *problem) {
	if q.err == nil {
		q.err = p
	}
}

// text is the value of a parameter, empty when it is absent.
func (q *query) text(name string, longest int) string {
	list := q.list(name, longest)
	if len(list) > 1 {
		q.fail(badParameter(name, strings.Join(list, ","), "one value"))
	}
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// list has all values of a parameter.
func (q *query) list(name string, longest int) []string {
	q.read = append(q.read, name)
	list := q.values[name]
	if len(list) > maxValues {
		q.fail(badParameter(name, list[0]+",…", "at most "+strconv.Itoa(maxValues)+" values"))
	}
	for _, v := range list {
		if v == "" || len(v) > longest || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
			q.fail(badParameter(name, v, "1 to "+strconv.Itoa(longest)+" printable bytes"))
		}
	}
	return list
}

// choice is one of the allowed values, the first when the parameter is absent.
func (q *query) choice(name string, allowed ...string) string {
	v := q.text(name, 128)
	if v == "" {
		return allowed[0]
	}
	if !slices.Contains(allowed, v) {
		q.fail(badParameter(name, v, "one of "+strings.Join(allowed, ", "), allowed...))
	}
	return v
}

// choices are some of the allowed values; none when the parameter is absent.
func (q *query) choices(name string, allowed ...string) []string {
	list := q.list(name, 128)
	for _, v := range list {
		if !slices.Contains(allowed, v) {
			q.fail(badParameter(name, v, "one of "+strings.Join(allowed, ", "), allowed...))
		}
	}
	return list
}

// integer is a number from low to high, or absent.
func (q *query) integer(name string, low, high, absent int64) int64 {
	v := q.text(name, 32)
	if v == "" {
		return absent
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low || n > high {
		q.fail(badParameter(name, v, "a whole number from "+strconv.FormatInt(low, 10)+" to "+strconv.FormatInt(high, 10)))
	}
	return n
}

// millis is a time in Unix milliseconds, or absent.
func (q *query) millis(name string, absent int64) int64 {
	v := q.text(name, 32)
	if v == "" {
		return absent
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		q.fail(badParameter(name, v, "a time in Unix milliseconds"))
	}
	return n
}

// number is a finite number of at least 0, or absent.
func (q *query) number(name string, absent float64) float64 {
	v := q.text(name, 32)
	if v == "" {
		return absent
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
		q.fail(badParameter(name, v, "a number of at least 0"))
	}
	return n
}

// boolean is true, false, or nil when the parameter is absent.
func (q *query) boolean(name string) *bool {
	switch v := q.text(name, 8); v {
	case "":
		return nil
	case "true", "false":
		return new(v == "true")
	default:
		q.fail(badParameter(name, v, "true or false", "true", "false"))
		return nil
	}
}

// span is the range of from and to; to is math.MaxInt64 when it is absent.
func (q *query) span() (from, to int64) {
	from, to = q.millis("from", 0), q.millis("to", math.MaxInt64)
	if q.err == nil && from > to {
		q.fail(badParameter("from", strconv.FormatInt(from, 10), "a time before to"))
	}
	return from, to
}

// done is the first error: about a value, or a parameter that is not known.
func (q *query) done() *problem {
	if q.err != nil {
		return q.err
	}
	for name := range q.values {
		if !slices.Contains(q.read, name) {
			slices.Sort(q.read)
			p := newProblem(http.StatusBadRequest, "unknown parameter %s", shorten(name))
			if len(q.read) == 0 {
				p.Detail += ": this path takes none"
			} else {
				p.Detail += ": want " + strings.Join(q.read, ", ")
			}
			p.Parameter, p.Allowed = shorten(name), slices.Clone(q.read)
			return p
		}
	}
	return nil
}
