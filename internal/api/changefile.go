package api

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/loglimit"
	"github.com/chainbound/valtrack/internal/tracker"
)

// ChangesFile keeps the changes of a data directory, so that numbers and content are the same
// after a restart. Each line is a JSON object: first a fileHeader, then what was known of each
// node when the file was last rewritten (fileNode), and the changes (fileChange).
const ChangesFile = "changes.ndjson"

const (
	// rewriteEvery is how often the nodes are written again while the server runs.
	rewriteEvery = time.Hour
	// longestLine bounds a line, whose texts are those of events.
	longestLine = 64 << 10
)

// fileLine has one of these.
type fileLine struct {
	Header *fileHeader `json:"header,omitempty"`
	Node   *fileNode   `json:"node,omitempty"`
	Change *fileChange `json:"change,omitempty"`
}

// fileHeader is written again after changes, with the time of the totals: changes from next on that
// no header follows are part of an append that was not completed, and do not count.
type fileHeader struct {
	Log  string `json:"log"`
	Next int64  `json:"next"` // number of the next change
	AsOf int64  `json:"as_of"`
}

// fileNode is what changes of a node are found by.
type fileNode struct {
	ID         string  `json:"id"`
	Client     string  `json:"client,omitempty"`
	Release    string  `json:"release,omitempty"`
	Address    string  `json:"address,omitempty"`
	Last       int64   `json:"last,omitempty"` // handshake
	Met        int64   `json:"met,omitempty"`  // in a watch after that
	ClientAt   int64   `json:"client_at,omitempty"`
	Counts     bool    `json:"counts,omitempty"`
	Validating int8    `json:"validating,omitempty"`
	Median     int     `json:"median,omitempty"`
	Low        *number `json:"low,omitempty"` // absent where an earlier version has written it
	High       *number `json:"high,omitempty"`
	City       string  `json:"city,omitempty"`
	Country    string  `json:"country,omitempty"`
	ASName     string  `json:"as_name,omitempty"`
	Hidden     bool    `json:"hidden,omitempty"`
}

// fileChange also has what only callers with a key see.
type fileChange struct {
	change
	FromAddress string `json:"from_address,omitempty"`
	ToAddress   string `json:"to_address,omitempty"`
}

func (n *node) forFile() *fileNode {
	out := &fileNode{
		ID: n.ID, Client: string(n.Client.Kind), Release: n.release, Address: n.Address, Last: n.LastHandshake, ClientAt: n.ClientAt, Counts: n.counts(),
		Validating: int8(n.validating), City: n.place.city, Country: n.place.country, ASName: n.place.asName, Hidden: n.hidden,
	}
	if met := n.LastMet(); met > n.LastHandshake {
		out.Met = met
	}
	if n.Estimate != nil {
		out.Median = n.Estimate.Median
		out.Low, out.High = n.interval()
	}
	return out
}

// node is a node of which nothing else is known.
func (f *fileNode) node() node {
	n := node{
		Peer:    &tracker.Peer{ID: f.ID, Client: eth2.Client{Kind: eth2.ClientKind(f.Client)}, Address: f.Address, LastHandshake: f.Last, ClientAt: f.ClientAt},
		release: f.Release, weight: math.NaN(), hidden: f.Hidden, validating: validating(f.Validating),
		place: place{city: f.City, country: f.Country, asName: f.ASName, latitude: math.NaN(), longitude: math.NaN()},
	}
	if f.Met > 0 {
		n.Watched = []estimate.Span{{f.Last, f.Met}}
	}
	if f.Counts {
		n.weight = 1
	}
	n.Estimate = &tracker.Estimate{Estimate: estimate.Estimate{Median: f.Median, Low: math.NaN(), High: math.NaN()}}
	if f.Low != nil && f.High != nil {
		n.Estimate.Low, n.Estimate.High = float64(*f.Low), float64(*f.High)
	}
	return n
}

// changeFile is the file of a changeLog. Only the goroutine that builds views uses it.
type changeFile struct {
	path      string
	size      int64 // of what was written; another size is of somebody else
	rewritten time.Time
	stale     bool // a view since has nodes or changes that the nodes in the file do not have
	log       *slog.Logger
	limit     *loglimit.Limiter
}

// openChanges reads the file of a data directory into a log, and returns a view of the nodes as
// they were known then; nil without a file, or when it cannot be read: then the log begins again.
func openChanges(dataDir string, log *slog.Logger) (*changeLog, *changeFile, *view) {
	if dataDir == "" {
		return newChangeLog(), nil, nil
	}
	f := &changeFile{path: filepath.Join(dataDir, ChangesFile), stale: true, log: log, limit: loglimit.Every(10 * time.Minute)}
	l, base, err := readChanges(f.path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("cannot read the changes of earlier runs: the list starts empty", slog.String("file", f.path), slog.Any("error", err))
		}
		return newChangeLog(), f, nil
	}
	return l, f, base
}

func readChanges(path string) (l *changeLog, base *view, err error) {
	nodes, header := map[string]*fileNode{}, (*fileHeader)(nil)
	l = newChangeLog()
	_, err = eachFileLine(path, func(line fileLine) error {
		switch c := line.Change; {
		case line.Header != nil:
			header = line.Header
		case header == nil:
			return errors.New("no header")
		case line.Node != nil:
			nodes[line.Node.ID] = line.Node
		case c == nil || len(l.all) > 0 && c.Seq != l.end:
			return errors.New("neither a node nor the next change")
		default:
			c.from, c.to = c.FromAddress, c.ToAddress
			l.all, l.end = append(l.all, c.change), c.Seq+1
		}
		return nil
	})
	if err == nil && (header == nil || len(header.Log) != len(l.id) || header.Next < l.end) {
		err = errors.New("no header")
	}
	if err != nil {
		return nil, nil, err
	}
	if len(l.all) == 0 {
		l.end = header.Next
	}
	l.id = header.Log
	base = &view{}
	base.totals.Hour = header.AsOf
	for _, n := range nodes {
		base.nodes = append(base.nodes, n.node())
	}
	slices.SortFunc(base.nodes, func(a, b node) int { return strings.Compare(a.ID, b.ID) })
	return l, base, nil
}

// eachFileLine calls each with the lines of a file, but for those of an append that was not completed:
// its process was killed, or is still writing. rest reports whether there are such. The error is
// dataset.ErrDamaged for a line that is none of such a file.
func eachFileLine(path string, each func(fileLine) error) (rest bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var appended []fileLine // after the last header
	next := int64(0)
	lines := diskio.NewLineReader(f, longestLine)
	for lines.Next() {
		text := lines.Line()
		if text.Torn {
			return true, nil
		}
		var line fileLine
		err := json.Unmarshal(text.Text, &line)
		appended = append(appended, line)
		if line.Header != nil {
			next = line.Header.Next
		} else if len(appended) > 1 || line.Change != nil && line.Change.Seq >= next {
			if err == nil {
				continue
			}
		}
		for i := 0; i < len(appended) && err == nil; i++ {
			err = each(appended[i])
		}
		if err != nil {
			return false, fmt.Errorf("%w: line %d: %w", dataset.ErrDamaged, text.Number, err)
		}
		appended = appended[:0]
	}
	return len(appended) > 0, lines.Err()
}

// add writes what was found between the view before and v, and is not in the log yet. Errors are
// logged: the next call writes the whole file.
func (f *changeFile) add(l *changeLog, found []change, v *view) {
	if f.size == 0 || time.Since(f.rewritten) > rewriteEvery && f.stale || f.size != f.onDisk() {
		f.rewrite(l, found, v)
		return
	}
	f.stale = true // also of nodes whose handshake is no change, in the crawl's first day
	if len(found) == 0 {
		return
	}
	f.report(f.append(func(w *json.Encoder) error {
		for _, c := range found {
			if err := w.Encode(fileLine{Change: newFileChange(c)}); err != nil {
				return err
			}
			if n := v.find(c.ID); n != nil {
				if err := w.Encode(fileLine{Node: n.forFile()}); err != nil {
					return err
				}
			}
		}
		return w.Encode(fileLine{Header: l.header(found, v)})
	}))
}

// skip notes that changes were not written, since the file is of another process.
func (f *changeFile) skip() { f.size, f.stale = 0, true }

func newFileChange(c change) *fileChange { return &fileChange{c, c.from, c.to} }

// header is that of a file with the log and what was found after it.
func (l *changeLog) header(found []change, v *view) *fileHeader {
	return &fileHeader{l.id, l.last() + 1 + int64(len(found)), v.totals.Hour}
}

func (f *changeFile) onDisk() int64 {
	info, err := os.Stat(f.path)
	if err != nil {
		return -1
	}
	return info.Size()
}

func (f *changeFile) append(write func(*json.Encoder) error) error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	if err = write(json.NewEncoder(out)); err == nil {
		err = cmp.Or(out.Flush(), file.Sync())
	}
	return errors.Join(err, file.Close())
}

// rewrite writes the log, what was found after it, and the nodes of a view.
func (f *changeFile) rewrite(l *changeLog, found []change, v *view) {
	all, _ := l.from(0)
	all = append(all, found...)
	f.stale, f.rewritten = false, time.Now()
	f.report(diskio.ReplaceFileWith(f.path, 0o644, func(to io.Writer) error {
		out := bufio.NewWriter(to)
		w := json.NewEncoder(out)
		if err := w.Encode(fileLine{Header: l.header(found, v)}); err != nil {
			return err
		}
		for _, c := range all {
			if err := w.Encode(fileLine{Change: newFileChange(c)}); err != nil {
				return err
			}
		}
		for i := range v.nodes {
			if err := w.Encode(fileLine{Node: v.nodes[i].forFile()}); err != nil {
				return err
			}
		}
		return out.Flush()
	}))
}

func (f *changeFile) report(err error) {
	if f.size = f.onDisk(); err == nil {
		return
	}
	f.size = 0 // to be rewritten
	if f.limit.Allow() {
		f.log.Warn("cannot save the list of changes: it will be empty after the next start", slog.String("file", f.path), slog.Any("error", err))
	}
}

// withoutNodes are the lines of a file without those of nodes, how many changes it left out, and
// whether anything of the file is not as it was.
func withoutNodes(path string, gone func(id string) bool) (lines []fileLine, removed int, changed bool, err error) {
	rest, err := eachFileLine(path, func(line fileLine) error {
		switch {
		case line.Node != nil && gone(line.Node.ID):
			changed = true
			return nil
		case line.Change != nil && gone(line.Change.ID):
			removed++
			return nil
		case line.Change != nil && line.Change.Replaces != nil && gone(*line.Change.Replaces):
			changed = true
			line.Change.Replaces = nil
		}
		lines = append(lines, line)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, false, nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return lines, removed, changed || rest || removed > 0, err
}

// CountChanges counts the changes that PurgeChanges would remove.
func CountChanges(dataDir string, gone func(id string) bool) (int, error) {
	_, n, _, err := withoutNodes(filepath.Join(dataDir, ChangesFile), gone)
	return n, err
}

// PurgeChanges removes nodes from the changes of a data directory that no server uses, and counts
// the changes that it removed. What follows is renumbered in a log of its own. A damaged file, which no
// server would read, is removed.
func PurgeChanges(dataDir string, gone func(id string) bool, log *slog.Logger) (removed int, err error) {
	path := filepath.Join(dataDir, ChangesFile)
	lines, removed, changed, err := withoutNodes(path, gone)
	switch {
	case errors.Is(err, dataset.ErrDamaged):
		log.Warn("the list of changes is damaged and was removed: it will be empty after the next start", slog.Any("error", err))
		return 0, os.Remove(path)
	case err != nil:
		return 0, err
	case !changed:
		return 0, nil
	}
	id, next := newLogID(), int64(1)
	return removed, diskio.ReplaceFileWith(path, 0o644, func(to io.Writer) error {
		out := bufio.NewWriter(to)
		w := json.NewEncoder(out)
		for _, line := range lines {
			if line.Change != nil {
				line.Change.Seq = next
				next++
			}
			if line.Header != nil {
				line.Header.Log, line.Header.Next = id, max(next, line.Header.Next)
			}
			if err := w.Encode(line); err != nil {
				return err
			}
		}
		return out.Flush()
	})
}
