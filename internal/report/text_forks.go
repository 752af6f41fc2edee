package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/printable"
)

// WriteText writes the readiness for people.
func (f Forks) WriteText(w io.Writer) error {
	p := newPage(w)
	var list []field
	if f.Window != nil {
		list = f.Window.fields()
	}
	nodes, ready, notReady := 0, 0, 0
	for _, v := range f.Versions {
		nodes, ready, notReady = nodes+v.Nodes, ready+v.Ready, notReady+v.NotReady
	}
	switch {
	case nodes == 0 && f.Window != nil && f.Window.DataTo > 0:
		list = append(list, field{"next fork", "unknown: no node completed a handshake in this window, nor was watched"})
	case f.Network == "" && nodes == 0:
		list = append(list, field{"next fork", "unknown: no data yet; events become readable with the next commit"})
	case f.Network == "":
		list = append(list, field{"next fork", "unknown: the schedule of this data's network is unknown, give --network or --network-dir; below is what nodes announce"})
	case f.Next == nil:
		list = append(list, field{"network", f.now()},
			field{"next fork", fmt.Sprintf("none is scheduled in the configuration of %s, so there is nothing to be ready for", f.Network)},
			field{"announced", f.announcedText(nodes)})
	default:
		list = append(list, field{"network", f.now()},
			field{"next fork", f.Next.text()},
			field{"ready", fmt.Sprintf("%d of %s (%s), %d not ready, %d unknown", ready, plural(nodes, "node"), share(ready, nodes), notReady, nodes-ready-notReady)})
		if v := f.Validators; v != nil {
			list = append(list, field{"validators", fmt.Sprintf("%s of %s on ready nodes, %s on nodes that are not, %s unknown", v.Ready.text(), v.Total.text(), v.NotReady.text(), v.Unknown.text())})
		}
	}
	p.fields(list)
	f.writeVersions(p)
	rows := [][]string{}
	for _, a := range f.Announced {
		rows = append(rows, []string{orDash(orEmpty(a.ForkDigest)), orDash(orEmpty(a.NextForkVersion)), epochText(a.NextForkEpoch), orDash(orEmpty(a.NFD)), fmt.Sprint(a.Nodes)})
	}
	p.table([]column{{name: "DIGEST NOW"}, {"NEXT VERSION", plainColumn, 1}, {name: "NEXT FORK AT EPOCH"}, {name: "NFD"}, {name: "NODES"}}, rows)
	words := []string{"nfd", "node", "record"}
	if f.Next != nil {
		words = append([]string{"ready"}, words...)
	}
	if f.hasValidators() {
		words = append(words, "attachment")
	}
	p.legend(words...)
	return p.writeTo(w)
}

func (s ForkSum) text() string {
	return fmt.Sprintf("%.0f [%.0f to %.0f]", s.Validators, s.Low, s.High)
}

func (n NextFork) text() string {
	version := ""
	if n.ForkVersion != "" {
		version = fmt.Sprintf("version %s, ", n.ForkVersion)
	}
	return fmt.Sprintf("%s, %sdigest %s, at epoch %d, %s", n.Name, version, n.Digest, n.Epoch, clock(n.At))
}

// writeVersions writes a line per client, if one has several releases, and one per release: how
// many of its nodes are ready, if there is a fork to be ready for.
func (f Forks) writeVersions(p *page) {
	if clients := f.byClient(); len(clients) < len(f.Versions) {
		p.table(f.columns(), f.rows(clients))
	}
	columns, rows := slices.Insert(f.columns(), 1, column{"VERSION", textColumn, 0}), f.rows(f.Versions)
	if f.hasValidators() {
		columns = append(columns, column{"ATTACHMENTS", plainColumn, 2}, column{"90 %", plainColumn, 2})
		for i, v := range f.Versions {
			rows[i] = append(rows[i], v.validators()...)
		}
	}
	p.table(columns, rows)
}

func (f Forks) hasValidators() bool {
	return slices.ContainsFunc(f.Versions, func(v ForkVersion) bool { return v.Validators != nil })
}

func (v ForkVersion) validators() []string {
	if v.Validators == nil || v.Low == nil || v.High == nil {
		return []string{"-", "-"}
	}
	return []string{fmt.Sprintf("%.0f", *v.Validators), fmt.Sprintf("%.0f to %.0f", *v.Low, *v.High)}
}

func (f Forks) columns() []column {
	columns := []column{{"CLIENT", plainColumn, 0}, {"NODES", plainColumn, 0}, {"ON THE CURRENT FORK", plainColumn, 1}}
	if f.Next != nil {
		columns = append(columns, column{name: "READY"}, column{name: "NOT READY"}, column{name: "UNKNOWN"})
	}
	return columns
}

// rows are those of releases or, without versions, of clients.
func (f Forks) rows(versions []ForkVersion) [][]string {
	rows := [][]string{}
	for _, v := range versions {
		row := []string{orUnknown(v.Client)}
		if v.Version != ofClient {
			row = append(row, orUnknown(v.Version))
		}
		row = append(row, fmt.Sprint(v.Nodes), f.known(v.Current))
		if f.Next != nil {
			row = append(row, fmt.Sprint(v.Ready), fmt.Sprint(v.NotReady), fmt.Sprint(v.Unknown))
		}
		rows = append(rows, row)
	}
	return rows
}

// ofClient is the version of a sum over the releases of a client.
const ofClient = "all releases"

// byClient sums the releases of each client, most nodes first.
func (f Forks) byClient() (out []ForkVersion) {
	for _, v := range f.Versions {
		i := slices.IndexFunc(out, func(x ForkVersion) bool { return x.Client == v.Client })
		if i < 0 {
			i, out = len(out), append(out, ForkVersion{Client: v.Client, Version: ofClient})
		}
		x := &out[i]
		x.Nodes, x.Current, x.Ready, x.NotReady, x.Unknown = x.Nodes+v.Nodes, x.Current+v.Current, x.Ready+v.Ready, x.NotReady+v.NotReady, x.Unknown+v.Unknown
	}
	slices.SortStableFunc(out, func(a, b ForkVersion) int { return cmp.Compare(b.Nodes, a.Nodes) })
	return out
}

// announcedText sums up what the records of so many nodes say about the next fork. A record
// without a scheduled fork repeats the current version and has the far future as its epoch.
func (f Forks) announcedText(nodes int) string {
	none, unknown, withoutEpoch := 0, 0, 0
	later := map[string]int{}
	for _, a := range f.Announced {
		switch {
		case a.NextForkEpoch == nil && a.NextForkVersion != nil:
			withoutEpoch += a.Nodes
		case a.NextForkEpoch == nil:
			unknown += a.Nodes
		case *a.NextForkEpoch == uint64(eth2.FarFutureEpoch):
			none += a.Nodes
		default:
			later[fmt.Sprintf("version %s at epoch %d", printable.Clean(orDash(orEmpty(a.NextForkVersion))), *a.NextForkEpoch)] += a.Nodes
		}
	}
	var words []string
	if f.withoutEpochs() {
		words = append(words, fmt.Sprintf("the records of %d of %s name a version without its epoch, so whether they know of a next fork is not known here", withoutEpoch, plural(nodes, "node")))
	} else {
		words, unknown = append(words, fmt.Sprintf("%d of %s announce that they know of no next fork", none, plural(nodes, "node"))), unknown+withoutEpoch
	}
	forks := slices.SortedFunc(maps.Keys(later), func(a, b string) int { return cmp.Or(cmp.Compare(later[b], later[a]), strings.Compare(a, b)) })
	for _, fork := range forks[:min(maxVersions, len(forks))] { // nodes choose what they announce
		words = append(words, fmt.Sprintf("%d announce %s", later[fork], fork))
	}
	if more := len(forks) - maxVersions; more > 0 {
		words = append(words, plural(more, "other fork")+" by fewer nodes")
	}
	if unknown > 0 {
		words = append(words, fmt.Sprintf("of %d no record tells", unknown))
	}
	return strings.Join(words, ", ")
}

// withoutEpochs reports whether the epochs of records are not known, as in an API whose tracker has
// the records of an earlier version.
func (f Forks) withoutEpochs() bool {
	return slices.ContainsFunc(f.Announced, func(a Announcement) bool { return a.NextForkVersion != nil }) &&
		!slices.ContainsFunc(f.Announced, func(a Announcement) bool { return a.NextForkEpoch != nil })
}

func (f Forks) now() string {
	return fmt.Sprintf("%s, compared at epoch %d, digest %s", f.Network, f.Epoch, f.Current)
}

// known is a count that needs the schedule.
func (f Forks) known(n int) string {
	if f.Network == "" {
		return "-"
	}
	return fmt.Sprint(n)
}

func epochText(epoch *uint64) string {
	switch {
	case epoch == nil:
		return "-"
	case *epoch == uint64(eth2.FarFutureEpoch):
		return "none"
	}
	return fmt.Sprint(*epoch)
}
