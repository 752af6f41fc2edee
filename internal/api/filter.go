package api

import (
	"cmp"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// none is the value of a filter for what is not known.
const none = "none"

// shortestPrefix is the least of an id that is searched for.
const shortestPrefix = 6

// filter reports whether a node matches.
type filter func(n *node) bool

// filters reads the parameters that restrict the nodes.
func (r *request) filters() (out []filter) {
	add := func(f filter) { out = append(out, f) }
	oneOf := func(name string, of func(n *node) string) {
		if list := r.list(name, 128); len(list) > 0 {
			add(func(n *node) bool {
				v := of(n)
				return slices.Contains(list, v) || v == "" && slices.Contains(list, none)
			})
		}
	}
	oneOf("client", func(n *node) string {
		if n.ToldClient() == 0 {
			return ""
		}
		return string(n.Client.Kind)
	})
	if list := slices.Clone(r.list("version", 128)); len(list) > 0 {
		for i := range list { // as eth2.Client.Release writes them
			list[i] = strings.TrimLeft(list[i], "vV")
		}
		add(func(n *node) bool { return slices.Contains(list, cmp.Or(n.release, none)) })
	}
	oneOf("country", func(n *node) string { return n.place.code })
	oneOf("cloud", func(n *node) string { return n.place.cloud })
	if list := r.choices("hosting", "isp", "hosting", "business", "education", "unknown"); len(list) > 0 {
		add(func(n *node) bool {
			return slices.Contains(list, n.place.hosting) || n.place.hosting == "" && slices.Contains(list, "unknown")
		})
	}
	r.numbers(add)
	r.spans(add)
	if digests := r.list("fork_digest", 10); len(digests) > 0 {
		add(func(n *node) bool { return slices.Contains(digests, orEmpty(stringOf(n.forkDigest()))) })
	}
	if names := r.choices("flag", flagNames()...); len(names) > 0 {
		add(func(n *node) bool {
			return n.Estimate != nil && slices.ContainsFunc(n.Estimate.Flags.Names(), func(f string) bool { return slices.Contains(names, f) })
		})
	}
	if all := r.boolean("all_subnets"); all != nil {
		add(func(n *node) bool { return n.Estimate != nil && n.Estimate.AllSubnets == *all })
	}
	if counted := r.boolean("counted"); counted != nil && *counted {
		add((*node).counts)
	}
	if q := r.text("q", 1024); q != "" {
		if f := r.search(q); f != nil {
			add(f)
		}
	}
	return out
}

// numbers reads the filters by numbers.
func (r *request) numbers(add func(filter)) {
	asns := []uint32{}
	for _, text := range r.list("asn", 10) {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			r.fail(badParameter("asn", text, "the number of an autonomous system, such as 24940"))
		}
		asns = append(asns, uint32(n))
	}
	if len(asns) > 0 {
		add(func(n *node) bool { return slices.Contains(asns, n.place.asn) })
	}
	between := func(name string, of func(e *estimate.Estimate) float64) {
		from, to := r.number(name+"_from", 0), r.number(name+"_to", math.Inf(1))
		if from > 0 || !math.IsInf(to, 1) {
			add(func(n *node) bool {
				if n.Estimate == nil {
					return false
				}
				v := of(&n.Estimate.Estimate)
				return from <= v && v <= to
			})
		}
	}
	between("validators", func(e *estimate.Estimate) float64 { return float64(e.Median) })
	between("width", func(e *estimate.Estimate) float64 { return e.High - e.Low })
}

// spans reads the filters by times.
func (r *request) spans(add func(filter)) {
	within := func(from, to int64, of func(n *node) int64) {
		if from > 0 || to < math.MaxInt64 {
			add(func(n *node) bool { return from <= of(n) && of(n) <= to })
		}
	}
	from, to := r.span()
	within(from, to, func(n *node) int64 { return n.LastSeen })
	within(r.millis("first_seen_from", 0), r.millis("first_seen_to", math.MaxInt64), func(n *node) int64 { return n.FirstSeen })
}

// flagNames are the names of all flags.
func flagNames() []string { return estimate.Flags(math.MaxUint16).Names() }

// search is the filter of q; nil after a problem.
func (r *request) search(q string) filter {
	fail := func(p *problem) filter {
		p.Parameter = "q"
		r.fail(p)
		return nil
	}
	if ip, err := netip.ParseAddr(strings.Trim(q, "[]")); err == nil {
		if !r.caller.full {
			return fail(r.needsKey("q=" + shorten(q) + ": searching by an address"))
		}
		return func(n *node) bool { return n.hasIP(ip.Unmap()) }
	}
	if strings.HasPrefix(q, "enr:") {
		record, err := enr.Parse(q)
		if err != nil {
			return fail(newProblem(http.StatusBadRequest, "q: the node record cannot be read: %s", shorten(err.Error())))
		}
		return func(n *node) bool { return n.ID == record.PeerID }
	}
	if len(q) < shortestPrefix {
		return fail(newProblem(http.StatusBadRequest, "q=%s: want a peer id, a node id or a node record, or at least %d characters of the beginning of an id", shorten(q), shortestPrefix))
	}
	nodeID := "0x" + strings.TrimPrefix(strings.ToLower(q), "0x")
	return func(n *node) bool { return strings.HasPrefix(n.ID, q) || strings.HasPrefix(n.nodeID, nodeID) }
}

// hasIP reports whether the node was found at an address, or has it in its record.
func (n *node) hasIP(ip netip.Addr) bool {
	is := func(text string) bool {
		addr, err := netip.ParseAddr(text)
		return err == nil && addr.Unmap() == ip
	}
	if own, _ := n.address(); own.Unmap() == ip || is(n.Record.IP) || is(n.Record.IP6) {
		return true
	}
	parts := strings.SplitN(n.Multiaddr, "/", 4)
	return len(parts) > 2 && is(parts[2])
}

func passes(n *node, filters []filter) bool {
	for _, f := range filters {
		if !f(n) {
			return false
		}
	}
	return true
}
