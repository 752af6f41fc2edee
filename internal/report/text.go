package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/printable"
)

// Screen is a writer to a terminal of so many columns: views fit their lines to it. To any
// other writer they write tables as wide as they are, for other programs to read.
type Screen struct {
	io.Writer
	Columns int
}

// proseWidth is how wide sentences are without a Screen, narrowest the narrowest Screen.
const proseWidth, narrowest = 100, 40

// page is text for people: named values, tables, and sentences.
type page struct {
	strings.Builder
	width int // 0 for no limit of tables
}

func newPage(w io.Writer) *page {
	p := &page{}
	if s, ok := w.(Screen); ok {
		p.width = max(s.Columns, narrowest)
	}
	return p
}

func (p *page) writeTo(w io.Writer) error {
	if s, ok := w.(Screen); ok {
		w = s.Writer
	}
	_, err := io.WriteString(w, p.String())
	return err
}

func (p *page) prose() int {
	if p.width == 0 {
		return proseWidth
	}
	return p.width
}

// field is a named value of a page.
type field struct{ name, value string }

// fields writes values below each other, wrapped beside their names.
func (p *page) fields(list []field) {
	widest := 0
	for _, f := range list {
		widest = max(widest, utf8.RuneCountInString(f.name))
	}
	for _, f := range list {
		p.wrapped(pad(f.name, widest+2), f.value)
	}
}

// sentence writes a paragraph: without a Screen one line, to search in.
func (p *page) sentence(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.width == 0 {
		p.WriteString(text + "\n")
		return
	}
	p.wrapped("", text)
}

// wrapped writes text behind a label, its further lines below its beginning.
func (p *page) wrapped(label, text string) {
	indent := utf8.RuneCountInString(label)
	at := indent
	p.WriteString(label)
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > p.prose():
			p.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			p.WriteByte(' ')
			at++
		}
		p.WriteString(word)
		at += n
	}
	p.WriteByte('\n')
}

// column is one of a table.
type column struct {
	name string
	kind columnKind
	// rank 0 is always there; on a narrow terminal the highest rank goes first.
	rank int
}

type columnKind uint8

const (
	plainColumn columnKind = iota
	// idColumn has peer ids, of which a terminal shows the first characters, as many as
	// tell them apart.
	idColumn
	// textColumn is cut where the line does not fit.
	textColumn
)

const (
	// shortID is how many characters of an id are shown at least: all begin alike.
	shortID = 16
	// shortText is to how many characters a text column is cut at most.
	shortText = 16
	gap       = 2
)

// table writes rows below a heading, which names the columns.
func (p *page) table(columns []column, rows [][]string) {
	if p.Len() > 0 {
		p.WriteByte('\n')
	}
	dropped := p.fit(&columns, rows)
	widths := widthsOf(columns, rows)
	line := func(cell func(i int) string) {
		var b strings.Builder
		for i := range columns {
			b.WriteString(pad(cell(i), widths[i]+gap))
		}
		p.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
	line(func(i int) string { return columns[i].name })
	for _, row := range rows {
		line(func(i int) string { return row[i] })
	}
	if len(dropped) > 0 {
		p.sentence("(not shown on a terminal of this width: %s; --json has everything)", strings.Join(dropped, ", "))
	}
}

// fit cuts and drops cells until the rows fit the page; it names the columns that it
// dropped.
func (p *page) fit(columns *[]column, rows [][]string) (dropped []string) {
	over := func() int {
		total := -gap
		for _, w := range widthsOf(*columns, rows) {
			total += w + gap
		}
		return total - p.width
	}
	if p.width == 0 {
		return nil
	}
	if over() > 0 {
		shortenIDs(*columns, rows)
	}
	for i, c := range *columns {
		if n := over(); n > 0 && c.kind == textColumn {
			cutColumn(rows, i, max(widthsOf(*columns, rows)[i]-n, shortText, utf8.RuneCountInString(c.name)))
		}
	}
	for over() > 0 {
		i := dropFirst(*columns)
		if i < 0 {
			break
		}
		dropped = append(dropped, strings.ToLower(strings.ReplaceAll((*columns)[i].name, ", ", " in ")))
		*columns = slices.Delete(slices.Clone(*columns), i, i+1)
		for r := range rows {
			rows[r] = slices.Delete(slices.Clone(rows[r]), i, i+1)
		}
	}
	return dropped
}

// dropFirst is the last column of the highest rank; -1 when all are needed.
func dropFirst(columns []column) int {
	at := -1
	for i, c := range columns {
		if c.rank > 0 && (at < 0 || c.rank >= columns[at].rank) {
			at = i
		}
	}
	return at
}

func widthsOf(columns []column, rows [][]string) []int {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = utf8.RuneCountInString(c.name)
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	return widths
}

// shortenIDs cuts the ids of each column to the same number of characters.
func shortenIDs(columns []column, rows [][]string) {
	for i, c := range columns {
		if c.kind != idColumn {
			continue
		}
		ids := make([]string, len(rows))
		for r, row := range rows {
			ids[r] = row[i]
		}
		cutColumn(rows, i, distinct(ids)+1)
	}
}

// distinct is how many characters tell ids apart, shortID at least.
func distinct(ids []string) int {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	n := shortID
	for i := 1; i < len(ids); i++ {
		for n <= min(len(ids[i-1]), len(ids[i])) && ids[i-1][:n] == ids[i][:n] {
			n++
		}
	}
	return n
}

func cutColumn(rows [][]string, i, width int) {
	for r, row := range rows {
		if cut := cutTo(row[i], width); cut != row[i] {
			rows[r] = slices.Clone(row)
			rows[r][i] = cut
		}
	}
}

// cutTo is s, or what fits of it with an ellipsis.
func cutTo(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// legend explains words, each by the words behind it.
func (p *page) legend(words ...string) {
	all := legends()
	list := make([]field, len(words))
	for i, word := range words {
		list[i] = field{word, all[word]}
	}
	p.explain(list)
}

// explain ends a page with what its words mean.
func (p *page) explain(list []field) {
	p.WriteByte('\n')
	p.fields(list)
}

// legends are the words that reports use; docs/glossary.md has more.
func legends() map[string]string {
	return map[string]string{
		"[low to high]":       "the interval that contains the true number with 90 % probability; the number before it is the median, or for a total the mean",
		"node":                "a beacon node that completed a handshake; validators run behind it",
		"ended visit":         "a connection that has ended, or an attempt that failed; a running watch has not ended, and is not counted yet",
		event.OutcomeCanceled: "a visit that the sentry ended itself, for instance because it was stopped: the node did nothing wrong",
		"since":               "the day (UTC) since when the node has had this number of validators, as far as its duties show; - when the days used for the estimate show no change",
		"custody groups":      "how many of 128 groups of data columns a node keeps (cgc): 4 without validators, 8 with 1 to 8 of them, then one more for each 32 ETH, up to 128",
		"short-lived subnet":  "an attestation subnet that a node joins for a validator's duty and then leaves: the basis of estimates",
		"subnet rule":         "how the long-lived subnets follow from the node id and the epoch, which differs between client families: spec as the specification has it, staggered as Lighthouse before 6, static as Lighthouse since 6 (names joined by + where these agree), all 64, or none of them; - when they have changed since the last handshake",
		"long-lived subnet":   "an attestation subnet that a node stays on permanently, with or without validators",
		"hello":               "the first gossip message, which lists a node's subnets; without it they are unknown",
		"watch":               "a connection held for whole epochs, during which each joining and leaving of a subnet is recorded",
		"detection":           "nodes that have at least one validator with 90 % probability or more. It may fall with more data: a node with one to three validators that announces 8 custody groups begins just above that; each watched epoch without a duty lowers it, and its first duty raises it to 99 %",
		"duty":                "one vote of a validator, for which its node joins a subnet; slots or epochs and subnets with a duty are filled, those without one are empty",
		"last heard":          "the last handshake, new record, or end of a watch",
		"ready":               "the node's record announces the next fork of the schedule; not ready: another fork or none; unknown: there is no record, or no next fork",
		"nfd":                 "next fork digest: what a record says about the coming fork",
		"record":              "a signed announcement of a node's keys, addresses and fork (ENR), found by discovery (discv5)",
		"attachment":          "a validator at a node: a validator that runs behind several nodes has several attachments, so there may be more attachments than validators",
		"HHI":                 "Herfindahl-Hirschman index, the sum of the squared shares in percent: 10000 when one group has everything, 100 when a hundred have equal shares; in a range, what is of no known group is spread over many at its lower end, and all of the largest group at its upper end",
		"a third":             "\"2 hold a third\": the two largest groups together have at least a third of all, and the largest alone has less. More than a third of the stake can stop finality, two thirds can finalize",
		"not hosted":          "in a known network that sells no servers: an internet provider, a business, a school",
		"other hosting":       "in a network that sells servers, of a provider without a short name here",
		"vanished":            "was met in the span before the window, by a handshake or in a watch, and did not answer when dialled in the window",
		"appeared":            "completed its first handshake of all in the window",
		"upgraded":            "reported another release, or another client, at its last handshake in the window than at the last one before it; includes downgrades",
		"observations":        "completed handshakes, in the window if there is one",
		"window":              "the time chosen by --since, --from and --to, or --changes; before is the span of the same length preceding it",
		"moved":               "was reached at another IP address than before",
	}
}

func unix(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// lastHeard is a time, or that there was none.
func lastHeard(ms int64) string {
	if ms == 0 {
		return "never"
	}
	return clock(ms)
}

func clock(ms int64) string { return unix(ms).Format(time.RFC3339) }

// span is a duration as people say it: 36h0m, 12m, 2m30s, 40s.
func span(ms int64) string {
	d := (time.Duration(ms) * time.Millisecond).Round(time.Second)
	if d >= time.Hour {
		d = d.Round(time.Minute)
	}
	if d >= time.Minute && d%time.Minute == 0 {
		return strings.TrimSuffix(d.String(), "0s")
	}
	return d.String()
}

func share(n, total int) string {
	if total == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(total))
}

// unknownName stands for a client, a release or an agent that is not known.
const unknownName = "unknown"

// orUnknown is a client, a release or an agent for people.
func orUnknown(s string) string { return cmp.Or(strings.TrimSpace(printable.Clean(s)), unknownName) }

func numbers(list []int32) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Trim(fmt.Sprint(list), "[]")
}
