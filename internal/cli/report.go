package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/report"
)

// Flags of report.
const (
	flagNodes = "nodes"
	flagNode  = "node"

	flagCalibration = "calibration"
)

func (p *program) reportCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "report", Usage: "sum up the datasets of a data directory",
		Description: "Validators with their interval, nodes, clients and versions, short-lived subnets, custody group\n" +
			"counts and errors. Works also while a consumer writes to the directory.",
		Flags: []cli.Flag{
			jsonFlag(),
			toggle(flagNodes, "print one row per node; with --json one object per line"),
			text(flagNode, "", "print the evidence for one node, by peer id or node id"),
			toggle(flagCalibration, "print how the client versions fare against what the estimates assume"),
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
	r, err := report.Read(ctx, dir)
	if err != nil {
		return err
	}
	switch id := in.cmd.String(flagNode); {
	case id != "":
		return in.reportNode(ctx, r, dir, id)
	case in.cmd.Bool(flagCalibration) && in.cmd.Bool(flagJSON):
		return writeJSON(in.stdout, r.Calibration())
	case in.cmd.Bool(flagCalibration):
		return r.Calibration().WriteText(in.stdout)
	case in.cmd.Bool(flagNodes):
		return in.reportNodes(r)
	case in.cmd.Bool(flagJSON):
		return writeJSON(in.stdout, r.Summary())
	}
	return r.Summary().WriteText(in.stdout)
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
	if in.cmd.Bool(flagJSON) {
		return writeJSON(in.stdout, e)
	}
	return e.WriteText(in.stdout)
}
