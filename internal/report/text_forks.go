package report

import (
	"fmt"
	"io"

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
	case f.Network == "" && nodes == 0:
		list = append(list, field{"next fork", "not known: no data yet, events can be read after the next commit"})
	case f.Network == "":
		list = append(list, field{"next fork", "not known: the schedule of this data's network is not known, give --network or --network-dir; below is what nodes announce"})
	case f.Next == nil:
		list = append(list, field{"network", f.now()}, field{"next fork", "none is scheduled in this configuration; below is what nodes announce"})
	default:
		list = append(list, field{"network", f.now()},
			field{"next fork", fmt.Sprintf("%s, digest %s, at epoch %d, %s", f.Next.Name, f.Next.Digest, f.Next.Epoch, clock(f.Next.At))},
			field{"ready", fmt.Sprintf("%d of %s (%s), %d not ready, %d unknown", ready, plural(nodes, "node"), share(ready, nodes), notReady, nodes-ready-notReady)})
	}
	p.fields(list)
	rows := [][]string{}
	for _, v := range f.Versions {
		rows = append(rows, []string{
			v.Client, orUnknown(printable.Clean(v.Version)), fmt.Sprint(v.Nodes), f.known(v.Current), fmt.Sprint(v.Ready), fmt.Sprint(v.NotReady), fmt.Sprint(v.Unknown),
		})
	}
	p.table([]column{
		{"CLIENT", plainColumn, 0}, {"VERSION", textColumn, 0}, {"NODES", plainColumn, 0}, {"ON THE CURRENT FORK", plainColumn, 1},
		{"READY", plainColumn, 0}, {"NOT READY", plainColumn, 0}, {"UNKNOWN", plainColumn, 0},
	}, rows)
	rows = [][]string{}
	for _, a := range f.Announced {
		rows = append(rows, []string{orDash(orEmpty(a.ForkDigest)), orDash(orEmpty(a.NextForkVersion)), epochText(a.NextForkEpoch), orDash(orEmpty(a.NFD)), fmt.Sprint(a.Nodes)})
	}
	p.table([]column{{name: "DIGEST NOW"}, {"NEXT VERSION", plainColumn, 1}, {name: "NEXT FORK AT EPOCH"}, {name: "NFD"}, {name: "NODES"}}, rows)
	p.legend("ready", "nfd", "node", "record")
	return p.writeTo(w)
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
