package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/eventlog"
	"github.com/chainbound/valtrack/internal/printable"
	"github.com/chainbound/valtrack/internal/report"
	"github.com/chainbound/valtrack/internal/sentry"
)

func (p *program) purgeCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "purge", Usage: "remove the rows of nodes whose operators opted out", ArgsUsage: "[ID...]",
		Description: "Removes from --data-dir every row of these nodes, their rejected events, their state in the tracker and in peers.db\n" +
			"(a running sentry forgets them by itself once they are in its --" + flagExclude + " file), and their changes.\n" +
			"IDs are peer ids, node ids, ENRs, IP addresses or networks, or the first characters of an id (4 or more), if\n" +
			"they match one node only; --exclude names a file of whole ids and addresses. A node that was ever seen\n" +
			"at one of the addresses is removed entirely. This cannot be undone. No consumer may be running, and no\n" +
			"sentry that has written " + eventlog.SentryRejectedName + " there. If it is interrupted, run it again.\n" +
			"In the directory of a sentry alone it cleans peers.db, the spool and the rejected events: stop the sentry first.\n" +
			"Events of the nodes in the sentry's spool (also those that were sent and are still in its file) are removed\n" +
			"too, or, while a sentry runs there, dropped when they would be sent. Event log files and the stream are not\n" +
			"changed: give the sentry --" + flagExclude + " first.",
		Flags: []cli.Flag{jsonFlag(), toggle(flagDryRun, "print how many rows and tracked peers would be removed, and remove nothing"), text(flagExclude, "", "file of peer ids, node ids, IP addresses and networks to remove, one per line")},
	}, runPurge)
}

const flagDryRun = "dry-run"

// shortestPrefix of an id that is purged, without 0x.
const shortestPrefix = 4

// purgePlan is `purge --dry-run --json`: what would be removed.
type purgePlan struct {
	DryRun       bool             `json:"dry_run"`
	Peers        int              `json:"peers"`
	Unmatched    []string         `json:"unmatched"` // entries of which nothing was found
	Rows         map[string]int64 `json:"rows"`
	TrackedPeers int              `json:"tracked_peers"`
	Spooled      int              `json:"spooled_events"`
	Changes      int              `json:"changes"`
}

// purgeView is `purge --json`: what was removed.
type purgeView struct {
	Peers          int              `json:"peers"`
	Unmatched      []string         `json:"unmatched"` // entries of which nothing was found
	Rows           map[string]int64 `json:"rows"`
	TrackedPeers   int              `json:"tracked_peers"`
	RejectedEvents int              `json:"rejected_events"`
	SpooledEvents  int              `json:"spooled_events"`
	Changes        int              `json:"changes"`
	PeerTable      int              `json:"peer_table"`
}

func runPurge(ctx context.Context, in invocation) error {
	ids := in.cmd.Args().Slice()
	path := in.cmd.String(flagExclude)
	if len(ids) == 0 && path == "" {
		return usagef("%s takes the peer ids or node ids to remove, or --%s FILE; see '%s --help'", in.cmd.FullName(), flagExclude, in.cmd.FullName())
	}
	exclude, bad := sentry.NewExclude(path, ids)
	if bad != nil && len(ids) == 0 {
		return usagef("purge: %w", bad)
	}
	dir, err := in.dataDirectory()
	if err != nil {
		return err
	}
	if !dataset.Exists(dir) && !app.HasSentryData(dir) {
		return usagef("--%s %q has no datasets, and no sentry's files", flagDataDir, dir)
	}
	if bad != nil {
		if exclude, err = in.namedNodes(ctx, dir, path, ids); err != nil {
			return err
		}
	}
	if in.cmd.Bool(flagDryRun) {
		found, err := app.WouldPurge(ctx, dir, exclude)
		if err != nil && !errors.Is(err, dataset.ErrDamaged) {
			return err
		}
		in.notePurged(found, exclude.Len(), dir, err)
		return errors.Join(in.print(purgePlan{true, found.Peers, found.Unmatched, found.Rows, found.TrackedPeers, found.SpooledEvents, found.Changes}), err)
	}
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	done, err := app.Purge(ctx, dir, exclude, log)
	if done.Rows == nil { // it did not begin
		return err
	}
	in.notePurged(done, exclude.Len(), dir, err)
	return errors.Join(in.print(purgeView(done)), err)
}

// notePurged says of what nothing was found, unless err left something out: a purge is repeated after
// it was interrupted, so that is no error, but a mistyped address looks the same. entries are those of
// the list.
func (in invocation) notePurged(found app.Purged, entries int, dir string, err error) {
	n := found.Peers + found.TrackedPeers + found.RejectedEvents + found.SpooledEvents + found.PeerTable + found.Changes
	for _, rows := range found.Rows {
		n += int(rows)
	}
	hint := "('valtrack report --node' finds a node)"
	if in.cmd.Bool(flagDryRun) {
		hint += "; --" + flagDryRun + " does not cover rejected events and peers.db"
	}
	switch {
	case err != nil:
	case entries == 0:
		fmt.Fprintf(in.stderr, "--%s %q names no node: nothing to remove\n", flagExclude, in.cmd.String(flagExclude))
	case n == 0:
		fmt.Fprintf(in.stderr, "%s has nothing about these nodes: they were removed before, or the ids and addresses are not theirs %s\n", dir, hint)
	default:
		list := found.Unmatched
		for _, entry := range list[:min(len(list), maxUnmatched)] {
			fmt.Fprintf(in.stderr, "%s has nothing about %s: it was removed before, or it is not the node's %s\n", dir, entry, hint)
		}
		if more := len(list) - maxUnmatched; more > 0 {
			fmt.Fprintf(in.stderr, "nor about %d more entries: unmatched in the result lists all of them\n", more)
		}
	}
}

// maxUnmatched is of how many entries a line says that nothing was found: a file of all who ever
// opted out has many that were removed before.
const maxUnmatched = 20

// namedNodes are the nodes to purge where some are named as reports name them: by the first
// characters of an id, or by an ENR. What is neither that nor an id or an address is an error.
func (in invocation) namedNodes(ctx context.Context, dir, path string, names []string) (*sentry.Exclude, error) {
	r, err := report.Read(ctx, dir, dataset.Range{})
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(names)
	for i, name := range names {
		_, bad := sentry.NewExclude("", []string{name})
		if bad == nil {
			continue
		}
		if record, err := enr.Parse(name); err == nil { // also of a node that was never found
			ids[i] = record.PeerID
			fmt.Fprintf(in.stderr, "%.24s… is %s\n", name, record.PeerID)
			continue
		}
		if len(strings.TrimPrefix(name, "0x")) < shortestPrefix {
			return nil, usagef("purge: %w, or at least the first %d characters of an id", bad, shortestPrefix)
		}
		n, err := r.Find(name)
		switch {
		case errors.Is(err, report.ErrAmbiguous):
			return nil, usagef("purge %q: %w", name, err)
		case err != nil:
			return nil, usagef("purge: %w; as the first characters of an id: %w", bad, err)
		}
		ids[i] = n.ID
		fmt.Fprintf(in.stderr, "%s is %s (%s)\n", name, n.ID, cmp.Or(printable.Clean(n.Agent), "agent unknown"))
	}
	exclude, err := sentry.NewExclude(path, ids)
	if err != nil {
		return nil, usagef("purge: %w", err)
	}
	return exclude, nil
}
