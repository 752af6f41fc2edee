package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/report"
)

// Flags of report.
const (
	flagNodes       = "nodes"
	flagNode        = "node"
	flagCalibration = "calibration"
)

func (p *program) reportCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "report", Usage: "summarise the datasets of a data directory",
		Description: "Validators with their interval, nodes, clients and versions, short-lived subnets, custody group\n" +
			"counts and errors. Also works while a consumer writes to the directory.",
		Flags: []cli.Flag{
			jsonFlag(),
			toggle(flagNodes, "print one row per node; with --json one object per line"),
			text(flagNode, "", "print the evidence for one node, by peer id or node id"),
			toggle(flagCalibration, "print how closely each client version matches the assumptions of the estimates"),
		},
	}, runReport)
}

func runReport(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	dir, err := in.dataDirectory()
	if err != nil {
		return err
	}
	id := in.cmd.String(flagNode)
	if id == "" && in.cmd.Bool(flagCalibration) {
		state, err := report.ReadState(ctx, dir)
		if err != nil {
			return err
		}
		return in.writeView(report.NewCalibration(state))
	}
	r, err := report.Read(ctx, dir)
	switch {
	case err != nil:
		return err
	case id != "":
		return in.reportNode(ctx, r, dir, id)
	case in.cmd.Bool(flagNodes):
		return in.reportNodes(r)
	}
	return in.writeView(r.Summary())
}

// writeView writes a view as JSON or text.
func (in invocation) writeView(view interface{ WriteText(w io.Writer) error }) error {
	if in.cmd.Bool(flagJSON) {
		return writeJSON(in.stdout, view)
	}
	return view.WriteText(in.stdout)
}

func (in invocation) reportNodes(r *report.Report) error {
	if !in.cmd.Bool(flagJSON) {
		return report.WriteNodes(in.stdout, r.Nodes())
	}
	enc := json.NewEncoder(in.stdout)
	for _, n := range r.Nodes() {
		if err := enc.Encode(n); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	return nil
}

func (in invocation) reportNode(ctx context.Context, r *report.Report, dir, id string) error {
	n, ok := r.Node(id)
	if !ok {
		return fmt.Errorf("no node %q in %s", id, dir)
	}
	e, err := r.Evidence(ctx, dir, n)
	if err != nil {
		return err
	}
	return in.writeView(e)
}
