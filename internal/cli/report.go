package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/report"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Flags of report.
const (
	flagNodes       = "nodes"
	flagNode        = "node"
	flagCalibration = "calibration"
	flagKnown       = "known"
	flagForks       = "forks"
	flagChanges     = "changes"
	flagTruth       = "truth"
	flagSentries    = "sentries"
	flagSince       = "since"
	flagBy          = "by"
	flagPublic      = "public"
	flagCSV         = "csv"
)

// defaultChanges is the time that --changes looks back without another.
const defaultChanges = "24h"

func (p *program) reportCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "report", Usage: "summarise the datasets of a data directory",
		Description: "Validators with their interval, nodes, clients and versions, short-lived subnets, custody group\n" +
			"counts and errors. Works while a consumer writes to the directory. Examples:\n\n" +
			"  valtrack report --since 24h                          the last day\n" +
			"  valtrack report --changes 7d                         what changed in the last week, compared with the week before\n" +
			"  valtrack report --changes --from 2026-11-22          what has changed since that day\n" +
			"  valtrack report --node 16Uiu2HAm9dqn                 one node, by the first characters of its peer id\n" +
			"  valtrack report --node 192.0.2.1:9000                one node, by its address\n" +
			"  valtrack report --by cloud --since 24h --csv         nodes and attachments by cloud, for a spreadsheet",
		Flags: []cli.Flag{
			jsonFlag(),
			toggle(flagNodes, "print one row per node, most validators first; with --json one object per line"),
			text(flagNode, "", "print the evidence for one node: its peer id, node id, the first characters of one (4 or more), ENR, multiaddr, or IP address with or without :PORT"),
			toggle(flagForks, "print how many nodes of each client version announce the next fork, and how many validators they have"),
			toggleOrAge(flagChanges, "print the nodes that appeared, vanished, moved or were upgraded in the last 24 hours, in another span, as in --changes 7d or --changes=90m, or from --from to --to"),
			text(flagBy, "", "print nodes and attachments by "+strings.Join(report.GroupNames(), ", ")+", and how concentrated they are"),
			toggle(flagPublic, "to publish the result: with --"+flagBy+", merge groups of fewer than five nodes; with --"+flagNodes+", leave out addresses, and places with few nodes"),
			toggle(flagCSV, "with --"+flagBy+", print the groups as CSV"),
			toggle(flagSentries, "compare the sentries over the last day: what only one of them reaches, their clocks, and their faults"),
			toggle(flagTruth, "compare the estimates with the true validators of a devnet's nodes"),
			toggle(flagCalibration, "print how closely each client version matches the assumptions of the estimates"),
			text(flagKnown, "", "file of nodes whose validators you know, for comparison in --calibration: a peer id, a number and a date per line"),
			text(flagSince, "", "report only on the last so much time, as 24h, 7d or 15m; with --"+flagURL+" for --"+flagChanges+" only"),
			text(flagFrom, "", "start of the time to report on, as 2026-11-22, 2026-11-22T10:00:00Z or Unix milliseconds; without a zone, UTC"),
			text(flagTo, "", "end of the time to report on, exclusive, in the same formats"),
			text(flagDevnetDir, "", "directory of the devnet's truth file (default: devnet in --data-dir)"),
			text(flagURL, "", "report from the API at this address, such as http://127.0.0.1:8080, instead of --data-dir; of the past it has --"+flagChanges+" only"),
			keyFileFlag(),
		},
	}, runReport)
}

func runReport(ctx context.Context, in invocation) error {
	_, arguments := in.changesPeriod()
	if err := in.noArgumentsAfter(arguments); err != nil {
		return err
	}
	if err := in.oneReport(); err != nil {
		return err
	}
	if in.cmd.String(flagURL) != "" {
		return in.reportURL(ctx)
	}
	dir, err := in.dataDirectory()
	if err != nil {
		return err
	}
	span, err := in.reportRange(time.Now())
	if err != nil {
		return err
	}
	// Before anything is stored every kind of report says so and succeeds, but for one on a node.
	empty, err := report.NoData(ctx, dir)
	switch {
	case err != nil:
		return err
	case empty == "":
	case in.cmd.String(flagNode) != "":
		return fmt.Errorf("no node %q in %s: %s", in.cmd.String(flagNode), dir, empty)
	case in.cmd.Bool(flagJSON):
		fmt.Fprintf(in.stderr, "no data yet: %s\n", empty)
	default:
		_, err = fmt.Fprintf(in.stdout, "no data yet\n%s\n", empty)
		return err
	}
	return in.reportOn(ctx, dir, span)
}

// reportOn writes the report that the flags ask for.
func (in invocation) reportOn(ctx context.Context, dir string, span dataset.Range) error {
	if in.cmd.Bool(flagCalibration) {
		state, err := report.ReadState(ctx, dir)
		if err != nil {
			return err
		}
		return in.reportCalibration(state)
	}
	if in.cmd.Bool(flagSentries) {
		s, err := report.ReadSentries(ctx, dir, time.Now())
		if errors.Is(err, dataset.ErrDamaged) {
			fmt.Fprintf(in.stderr, "warning: clocks of the rows of damaged parts are not known, run 'valtrack check data': %v\n", err)
			err = nil
		}
		if err != nil {
			return err
		}
		return in.writeView(s)
	}
	r, err := report.Read(ctx, dir, span)
	if err == nil && r.Damaged() != nil {
		fmt.Fprintf(in.stderr, "warning: the report lacks the rows of damaged parts, run 'valtrack check data': %v\n", r.Damaged())
	}
	switch {
	case err != nil:
		return err
	case in.cmd.String(flagNode) != "":
		return in.reportNode(ctx, r, dir)
	case in.cmd.Bool(flagNodes):
		return in.reportNodes(r)
	case in.cmd.Bool(flagForks):
		return in.reportForks(r, dir)
	case in.changes():
		return in.writeView(r.Changes())
	case in.cmd.Bool(flagTruth):
		return in.reportTruth(r, dir)
	case in.cmd.String(flagBy) != "":
		return in.reportGroups(r, dir)
	}
	return in.writeView(r.Summary())
}

// reportCalibration prints the calibration, with the residuals of known nodes if there are any.
func (in invocation) reportCalibration(state *tracker.State) error {
	c := report.NewCalibration(state)
	if path := in.cmd.String(flagKnown); path != "" {
		f, err := os.Open(path)
		if err != nil {
			return usagef("--%s: %w", flagKnown, err)
		}
		defer f.Close()
		known, err := report.ReadKnown(f)
		if err != nil {
			return usagef("--%s %q: %w", flagKnown, path, err)
		}
		c.Known = report.NewKnownNodes(state, known)
	}
	return in.writeView(c)
}

// oneReport checks that at most one kind of report is wanted, and with a window only one
// that has it.
func (in invocation) oneReport() error {
	if in.cmd.String(flagKnown) != "" && !in.cmd.Bool(flagCalibration) {
		return usagef("--%s: it is compared in --%s, give both", flagKnown, flagCalibration)
	}
	for _, flag := range []string{flagNode, flagBy, flagSince, flagFrom, flagTo, flagKnown} {
		if in.cmd.IsSet(flag) && in.cmd.String(flag) == "" { // such as that of an empty shell variable
			return usagef("--%s is empty: give it a value, or omit it", flag)
		}
	}
	var kinds []string
	for _, flag := range []string{flagNodes, flagForks, flagTruth, flagCalibration, flagSentries} {
		if in.cmd.Bool(flag) {
			kinds = append(kinds, flag)
		}
	}
	if in.changes() {
		kinds = append(kinds, flagChanges)
	}
	for _, flag := range []string{flagNode, flagBy} {
		if in.cmd.String(flag) != "" {
			kinds = append(kinds, flag)
		}
	}
	if len(kinds) > 1 {
		return usagef("--%s and --%s: give one of them", kinds[0], kinds[1])
	}
	if err := in.groupFlags(); err != nil {
		return err
	}
	if err := in.urlFlags(); err != nil {
		return err
	}
	if len(kinds) == 0 || slices.Contains([]string{flagNodes, flagForks, flagChanges, flagBy}, kinds[0]) {
		return nil
	}
	for _, flag := range []string{flagSince, flagFrom, flagTo} {
		if in.cmd.String(flag) != "" {
			return usagef("--%s: --%s covers all data, omit one of them", flag, kinds[0])
		}
	}
	return nil
}

// groupFlags checks --by and what goes with it.
func (in invocation) groupFlags() error {
	by := in.cmd.String(flagBy)
	if by != "" && !slices.Contains(report.GroupNames(), by) {
		return usagef("--%s %q: want one of %s", flagBy, by, strings.Join(report.GroupNames(), ", "))
	}
	if by == "" && in.cmd.Bool(flagCSV) && in.cmd.Bool(flagNodes) {
		return usagef("--%s and --%s: 'valtrack export nodes --%s nodes.csv' writes the nodes as CSV; --%s is for --%s", flagNodes, flagCSV, flagOut, flagCSV, flagBy)
	}
	if by == "" && in.cmd.Bool(flagCSV) {
		return usagef("--%s needs --%s", flagCSV, flagBy)
	}
	if by == "" && in.cmd.Bool(flagPublic) && !in.cmd.Bool(flagNodes) {
		return usagef("--%s needs --%s or --%s", flagPublic, flagBy, flagNodes)
	}
	if in.cmd.Bool(flagCSV) && in.cmd.Bool(flagJSON) {
		return usagef("--%s and --%s: give one of them", flagCSV, flagJSON)
	}
	return nil
}

// reportForks compares with the schedule of the network that the data directory belongs to,
// if it is known.
func (in invocation) reportForks(r *report.Report, dir string) error {
	if len(r.Summary().Networks) > 1 {
		return in.writeView(r.Forks(nil))
	}
	data, decided, err := in.dataNetwork()
	if err != nil {
		return err
	}
	net := data.Network
	if !decided || data.Missing != nil {
		if net, err = network.LoadFS(os.DirFS(in.truthDir(dir)), ""); err != nil {
			return in.writeView(r.Forks(nil)) // it says that the schedule is not known
		}
	}
	return in.writeView(r.Forks(&report.Schedule{Network: net.Name, Schedule: net.Schedule, Clock: net.Clock}))
}

// truthDir is the devnet's directory.
func (in invocation) truthDir(dataDir string) string {
	if dir := in.cmd.String(flagDevnetDir); dir != "" {
		return dir
	}
	if n, ok, err := app.NetworkOf(dataDir); err == nil && ok && n.Dir != "" {
		return n.Dir
	}
	return filepath.Join(dataDir, devnetName)
}

func (in invocation) reportGroups(r *report.Report, dir string) error {
	groups, err := r.Groups(in.cmd.String(flagBy), in.cmd.Bool(flagPublic))
	if err != nil {
		return fmt.Errorf("--%s %s in %s: %w", flagBy, in.cmd.String(flagBy), dir, err)
	}
	if in.cmd.Bool(flagCSV) {
		return in.writeGroupsCSV(groups)
	}
	return in.writeView(groups)
}

func (in invocation) writeGroupsCSV(groups report.Groups) error {
	out := csv.NewWriter(in.stdout)
	for _, cells := range groups.Table() {
		escapeFormulas(cells)
		if err := out.Write(cells); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	out.Flush()
	return out.Error()
}

func (in invocation) reportTruth(r *report.Report, dir string) error {
	a, err := r.Accuracy(filepath.Join(in.truthDir(dir), devnet.TruthFile))
	if errors.Is(err, report.ErrNoTruth) {
		return usagef("--%s: %w; --%s names the directory of the devnet", flagTruth, err, flagDevnetDir)
	}
	if err != nil {
		return err
	}
	return in.writeView(a)
}

// writeView writes a view as JSON or text.
func (in invocation) writeView(view textView) error {
	if in.cmd.Bool(flagJSON) {
		return writeJSON(in.stdout, view)
	}
	return view.WriteText(in.screen())
}

// screen is standard output, with its width when it is a terminal.
func (in invocation) screen() io.Writer {
	o, ok := in.stdout.(*output)
	if !ok {
		return in.stdout
	}
	if f, ok := o.w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return report.Screen{Writer: in.stdout, Columns: columns}
		}
	}
	return in.stdout
}

func (in invocation) reportNodes(r *report.Report) error {
	nodes := r.Nodes()
	if text := r.LeftOut(); text != "" {
		fmt.Fprintf(in.stderr, "left out: %s\n", text)
	}
	if in.cmd.Bool(flagPublic) {
		report.HideFromPublic(nodes)
	}
	if !in.cmd.Bool(flagJSON) {
		return r.WriteNodes(in.screen())
	}
	enc := json.NewEncoder(in.stdout)
	for _, n := range nodes {
		if err := enc.Encode(n); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	return nil
}

func (in invocation) reportNode(ctx context.Context, r *report.Report, dir string) error {
	id := in.cmd.String(flagNode)
	n, err := r.Find(id)
	switch {
	case errors.Is(err, report.ErrAmbiguous), errors.Is(err, report.ErrBadName):
		return usagef("--%s %q: %w", flagNode, id, err)
	case err != nil:
		return fmt.Errorf("no node %q in %s: %w", id, dir, err)
	}
	e, err := r.Evidence(ctx, dir, n)
	if err != nil {
		return err
	}
	return in.writeView(e)
}
