package geo

import (
	"context"
	_ "embed"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/loglimit"
	"github.com/chainbound/valtrack/internal/prefix"
)

// embedded is made by `make geo-data`.
//
//go:embed table.bin
var embedded []byte

const (
	// reloadPeriod is how often the files of the user's databases are looked at.
	reloadPeriod = 10 * time.Second
	// settled is how long a file must not have been written before it is read again:
	// otherwise somebody may still be writing it.
	settled = 2 * time.Second
	// oldAfter is the age of data from which on the log says so at the start.
	oldAfter = 365 * 24 * time.Hour
	// logPeriod limits how often errors of lookups are logged.
	logPeriod = time.Minute
)

// Locator finds the place and the network of addresses. Its methods may be called at
// the same time.
type Locator struct {
	table   *table
	paths   []string
	loaded  atomic.Pointer[[]*database] // one per path
	version atomic.Uint64
	errors  *loglimit.Limiter
	log     *slog.Logger
	refused []fs.FileInfo // of each path, the file that could not be read; Run's
	standIn func(netip.Addr) (other netip.Addr, ok bool)

	found cache
}

// Open reads the user's databases. What several know is taken from the first of them, and
// what none knows from the embedded table. An error names the file.
func Open(paths []string, log *slog.Logger) (*Locator, error) {
	t, err := openTable(embedded)
	if err != nil {
		return nil, fmt.Errorf("the embedded table: %w", err)
	}
	l := &Locator{table: t, paths: paths, log: log, errors: loglimit.Every(logPeriod), refused: make([]fs.FileInfo, len(paths))}
	var all []*database
	for _, path := range paths {
		d, err := openDatabase(path)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
		log.Info("places also come from a database that you provided", slog.String("file", path), slog.String("database", d.source.String()))
	}
	l.loaded.Store(&all)
	for _, s := range l.Sources() {
		if age := time.Since(s.Date); age > oldAfter {
			log.Warn("the place data is old: give a newer database with --geo, or update Valtrack",
				slog.String("database", s.String()), slog.Int("days", int(age.Hours()/24)))
		}
	}
	return l, nil
}

// Sources are the databases in their order of priority, the embedded table's last.
func (l *Locator) Sources() []Source {
	var out []Source
	for _, d := range *l.loaded.Load() {
		out = append(out, d.source)
	}
	return append(out, l.table.header.Places, l.table.header.Networks)
}

// Version changes after a database has been loaded: what was found before may differ.
func (l *Locator) Version() uint64 { return l.version.Load() }

// Find finds what is known about an address; nil for nothing, and for an address that is
// not globally reachable. IPv4 addresses that are written as IPv6 are looked up as IPv4.
// The Place is shared with those who asked before: it must not be changed.
func (l *Locator) Find(ip netip.Addr) *Place {
	return l.found.get(question{ip, l.version.Load()}, func() *Place {
		ip, simulated := l.inPlaceOf(ip)
		p := l.lookup(ip)
		if !p.known() {
			return nil
		}
		p.classify()
		if p.Source = p.describe(); simulated {
			p.Source = simulatedSource + "; " + p.Source
		}
		return &p
	})
}

// FindMultiaddr is Find for the address in /ip4/192.0.2.1/tcp/9000. local is true when
// there is none that is globally reachable, as in the multiaddr of a private address.
func (l *Locator) FindMultiaddr(multiaddr string) (p *Place, local bool) {
	rest, ok := strings.CutPrefix(multiaddr, "/ip")
	if !ok || len(rest) < 2 {
		return nil, true
	}
	text, _, _ := strings.Cut(rest[2:], "/")
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return nil, true
	}
	p = l.Find(ip)
	return p, p == nil && !enr.GloballyReachable(prefix.Unwrap(ip))
}

// lookup reads the databases.
func (l *Locator) lookup(ip netip.Addr) (p Place) {
	ip = prefix.Unwrap(ip)
	if !enr.GloballyReachable(ip) {
		return p
	}
	for _, d := range *l.loaded.Load() {
		found, err := d.lookup(ip)
		if err != nil && l.errors.Allow() {
			l.log.Warn("cannot read an address's record in a place database", slog.Any("error", err))
		}
		p.fill(&found, &d.source)
	}
	if err := l.table.fill(ip, &p); err != nil && l.errors.Allow() {
		l.log.Error("cannot read the built-in table of places", slog.Any("error", err))
	}
	return p
}

// Run loads databases again whose files have changed, until the context ends. One that
// cannot be read is logged, and what was loaded before stays in use.
func (l *Locator) Run(ctx context.Context) error {
	if len(l.paths) == 0 {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(reloadPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			l.reload(time.Now())
		}
	}
}

// reload looks at each file. A file that is still being written is left for the next time.
func (l *Locator) reload(now time.Time) {
	current := *l.loaded.Load()
	next, changed := append([]*database(nil), current...), false
	for i, d := range current {
		stat, err := os.Stat(d.path)
		if err != nil {
			if l.refused[i] != d.stat {
				l.refused[i] = d.stat
				l.log.Warn("a place database is gone, its data stays in use", slog.Any("error", err))
			}
			continue
		}
		tried := l.refused[i] != nil && sameFile(stat, l.refused[i])
		if sameFile(stat, d.stat) || tried || now.Sub(stat.ModTime()).Abs() < settled {
			continue
		}
		loaded, err := openDatabase(d.path)
		if err != nil {
			l.refused[i] = stat
			l.log.Warn("cannot reload a place database, the previous data stays in use", slog.Any("error", err))
			continue
		}
		next[i], l.refused[i], changed = loaded, nil, true
		l.log.Info("reloaded a place database", slog.String("file", d.path), slog.String("database", loaded.source.String()))
	}
	if changed {
		l.loaded.Store(&next)
		l.version.Add(1)
	}
}
