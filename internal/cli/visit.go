package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/p2p"
	"github.com/chainbound/valtrack/internal/printable"
	"github.com/chainbound/valtrack/internal/report"
	"github.com/chainbound/valtrack/internal/sentry"
)

func (p *program) visitCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "visit", Usage: "visit one node now and print what it shows", ArgsUsage: "ENR|MULTIADDR|ID|IP",
		Description: "Connects to the node, exchanges Status and MetaData, reads its gossip hello and says goodbye, as a sentry's\n" +
			"visit does, but under an identity of its own. Prints what the node shows, and stores nothing. If the node\n" +
			"could not be visited, prints why and exits with code 1. The node is one of:\n\n" +
			"  ENR        its record, enr:-Ku4QH...\n" +
			"  MULTIADDR  /ip4/192.0.2.1/tcp/9000/p2p/16Uiu2HAm...; without /p2p/, as reports print it, if it is known in --data-dir\n" +
			"  ID         a peer id, a node id, or the first characters of one (4 or more), of a node known in --data-dir\n" +
			"  IP         an address, with or without :PORT, of a node known in --data-dir\n\n" +
			"The node's network is that of the --data-dir that is given; otherwise --network or --network-dir names it.",
		Flags: []cli.Flag{jsonFlag(), text(flagExclude, "", "file of peer ids, node ids, IP addresses and networks that must not be visited"), contactFlag()},
	}, runVisit)
}

// visitView is `visit --json`: the columns of the handshake are those of
// validator_metadata_events.
type visitView struct {
	Visited   bool                  `json:"visited"`
	Reason    string                `json:"reason,omitempty"`
	Ended     *event.VisitEnded     `json:"visit"`
	Handshake *dataset.ValidatorRow `json:"handshake"`
	Topics    []string              `json:"topics"`
}

// errNotVisited is the error of visit after it has printed why.
var errNotVisited = errors.New("the node could not be visited")

func runVisit(ctx context.Context, in invocation) error {
	arg, err := in.oneArgument("ENR, multiaddr, id or IP address")
	if err != nil {
		return err
	}
	if in.cmd.IsSet(flagDataDir) { // it also says which network the node is of
		if _, err := in.dataDirectory(); err != nil {
			return err
		}
	}
	target, record, err := in.visitTarget(ctx, arg)
	if err != nil {
		return err
	}
	net, err := in.usableNetwork()
	if err != nil {
		return err
	}
	if err := in.mayVisit(target, record); err != nil {
		return err
	}
	agent, err := in.agent()
	if err != nil {
		return err
	}
	seen, err := app.Visit(ctx, net.Network, agent, target, record)
	if err != nil {
		return err
	}
	view := visitView{seen.Handshake != nil, seen.Why(), seen.Ended, seen.Row, seen.Topics}
	if in.cmd.Bool(flagJSON) {
		err = writeJSON(in.stdout, view)
	} else {
		view.Topics = counted(seen.Topics)
		err = writeVisit(in.stdout, view)
	}
	if err != nil || view.Visited {
		return err
	}
	if view.Ended != nil && view.Ended.Outcome == event.OutcomeWrongNetwork {
		return fmt.Errorf("%w: %s; it was visited as part of network %s: --%s or --%s names another", errNotVisited, view.Reason, net.Name, flagNetwork, flagNetworkDir)
	}
	return fmt.Errorf("%w: %s", errNotVisited, view.Reason)
}

// writeVisit writes what is known, each value once and a line for each topic. Times are those
// of the clock and not Unix milliseconds.
func writeVisit(out io.Writer, v visitView) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	written := map[string]string{} // by the last part of the name
	var fields func(prefix string, object []byte) error
	fields = func(prefix string, object []byte) error {
		return eachMember(object, func(name string, value json.RawMessage) error {
			if value[0] == '{' {
				return fields(prefix+name+".", value)
			}
			text := plain(value)
			switch name {
			case "timestamp", "started", "ended":
				if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
					text = time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
				}
			case "topics":
				lines := make([]string, len(v.Topics))
				for i, topic := range v.Topics {
					lines[i] = printable.Clean(topic)
				}
				text = strings.Join(lines, "\n\t")
			}
			if text == "" || text == "null" || prefix != "" && written[name] == text {
				return nil
			}
			written[name] = text
			_, err := fmt.Fprintf(w, "%s\t%s\n", prefix+name, text)
			return err
		})
	}
	if err := fields("", data); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// visitTarget is where to visit the node that the text names, and its record, nil where none is
// known. What the text does not have of the two is what the data directory knows of the node:
// its record for a multiaddr, its address for a record without one, both for an id, an IP address
// or a multiaddr without /p2p/, as reports print it. What pasting has put around it is left out.
func (in invocation) visitTarget(ctx context.Context, text string) (p2p.Target, *enr.Record, error) {
	text = strings.Trim(text, " \t\r\n\"'`,;\uFEFF")
	target, record, bad := sentry.ParseTarget(text)
	switch {
	case bad == nil && record != nil:
		return target, record, nil
	case bad == nil:
		return target, in.knownRecord(ctx, target.PeerID), nil
	}
	n, err := in.knownNode(ctx, text)
	if err != nil {
		return target, nil, in.unknownTarget(text, bad, err)
	}
	if record = recordOf(text); record == nil {
		record = recordOf(n.ENR)
	}
	for _, address := range addressesOf(n, text) {
		if target, _, err = sentry.ParseTarget(address); err == nil {
			return target, record, nil
		}
	}
	return target, nil, usagef("visit %q: no address of %s is known in --%s %q; %s", text, n.ID, flagDataDir, in.cmd.String(flagDataDir), wantVisit)
}

// recordOf is nil where the text is no record.
func recordOf(text string) *enr.Record {
	r, err := enr.Parse(text)
	if err != nil {
		return nil
	}
	return &r
}

// unknownTarget is the error for a text that has no address and names no known node. bad says why it
// is no target, unknown why it is no known node.
func (in invocation) unknownTarget(text string, bad, unknown error) error {
	switch {
	case recordOf(text) != nil, strings.Contains(strings.ToLower(text), "enr:"), strings.HasPrefix(text, "/") && strings.Contains(text, "/p2p/"):
		return usagef("visit: %w", bad)
	case strings.HasPrefix(text, "/") && !dataset.Exists(in.cmd.String(flagDataDir)):
		return usagef("visit: %w; or give the --%s that it was copied from", bad, flagDataDir)
	}
	return unknown
}

// knownRecord is the newest record that the data directory has of a peer, nil without one. The
// tracker has it, which is smaller than the datasets.
func (in invocation) knownRecord(ctx context.Context, peerID string) (record *enr.Record) {
	dir := in.cmd.String(flagDataDir)
	if state, err := report.ReadState(ctx, dir); err == nil && state != nil {
		if p := state.Peer(peerID); p != nil {
			record = recordOf(p.Record.ENR)
		}
	} else if n, err := in.knownNode(ctx, peerID); err == nil {
		record = recordOf(n.ENR)
	}
	if record == nil && in.cmd.IsSet(flagDataDir) {
		fmt.Fprintf(in.stderr, "visiting without the node's record: %s has none in --%s %q\n", peerID, flagDataDir, dir)
	}
	return record
}

const wantVisit = "give the node's ENR, or a multiaddr such as /ip4/192.0.2.1/tcp/9000/p2p/PEER_ID"

// knownNode is the node that the text names in the data directory.
func (in invocation) knownNode(ctx context.Context, text string) (*report.Node, error) {
	dir := in.cmd.String(flagDataDir)
	if !dataset.Exists(dir) {
		return nil, usagef("visit %q: it is no ENR and no multiaddr, and --%s %q has no datasets to find its address in; %s", text, flagDataDir, dir, wantVisit)
	}
	r, err := report.Read(ctx, dir, dataset.Range{})
	if err != nil {
		return nil, err
	}
	n, err := r.Find(text)
	if err != nil {
		return nil, usagef("visit %q: not found in --%s %q: %w; %s", text, flagDataDir, dir, err, wantVisit)
	}
	return n, nil
}

// addressesOf are the multiaddrs and the record by which a known node may be visited, the best
// first. A multiaddr that was dialled is dialled again; a node that has connected to us does not
// listen at the port that it came from.
func addressesOf(n *report.Node, text string) []string {
	at, _, _ := strings.Cut(text, "/p2p/")
	named, newest := at+"/p2p/"+n.ID, n.Multiaddr+"/p2p/"+n.ID
	if n.Direction == event.Outbound {
		return []string{named, n.ENR, newest}
	}
	return []string{n.ENR, named, newest}
}

// mayVisit refuses an excluded node.
func (in invocation) mayVisit(target p2p.Target, record *enr.Record) error {
	path := in.cmd.String(flagExclude)
	if path == "" {
		return nil
	}
	exclude, err := loadExclude(path)
	if err != nil {
		return err
	}
	var id eth2.NodeID
	if record != nil {
		id = record.NodeID
	}
	var addresses []netip.Addr
	for _, at := range slices.Concat(target.QUIC, target.TCP) {
		addresses = append(addresses, at.Addr())
	}
	if exclude.Peer(target.PeerID) || exclude.Node(id, addresses...) {
		return usagef("the node is excluded by --%s %s: its operator opted out", flagExclude, path)
	}
	return nil
}

// counted replaces the topics of each kind that is numbered by the kind and their number.
func counted(topics []string) (out []string) {
	counts := map[eth2.TopicKind]int{}
	for _, text := range topics {
		topic, err := eth2.ParseTopic(text)
		switch {
		case err != nil:
			out = append(out, text)
		case topic.Kind == eth2.TopicOther:
			out = append(out, topic.Name)
		default:
			counts[topic.Kind]++
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s (%d subnets)", kind, counts[kind]))
	}
	return out
}
