package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/printable"
)

// Flags of inspect.
const (
	flagEpoch  = "epoch"
	flagNodeID = "node-id"
	flagCGC    = "cgc"
)

func (p *program) inspectCommand() *cli.Command {
	return &cli.Command{
		Name:            "inspect",
		Usage:           "decode a node record, topic or agent string, compute fork digests or subnets, or look up an address's place",
		HideHelpCommand: true,
		OnUsageError:    explainUsage,
		Action:          rejectUnknownCommand,
		Commands: []*cli.Command{
			p.leaf(&cli.Command{
				Name: "enr", Usage: "decode a node record", ArgsUsage: "ENR",
				Flags: []cli.Flag{jsonFlag()},
			}, inspectENR),
			p.leaf(&cli.Command{
				Name: "digest", Usage: "list the fork digests of --network or --network-dir",
				Flags: []cli.Flag{jsonFlag(), wide(flagEpoch, 0, "only the digest in force at this epoch")},
			}, inspectDigest),
			p.leaf(&cli.Command{
				Name: "subnets", Usage: "compute a node's long-lived subnets and custody groups",
				Flags: []cli.Flag{
					jsonFlag(), text(flagNodeID, "", "node id, 32 bytes of hex"),
					wide(flagEpoch, 0, "epoch (default: the network's current one)"),
					wide(flagCGC, 0, "custody group count, for computing groups and columns"),
				},
			}, inspectSubnets),
			p.leaf(&cli.Command{
				Name: "ip", Usage: "look up the place and network of an address, offline", ArgsUsage: "ADDRESS",
				Flags: []cli.Flag{jsonFlag(), geoFlag()},
			}, inspectIP),
			p.leaf(&cli.Command{
				Name: "topic", Usage: "parse a gossip topic", ArgsUsage: "TOPIC",
				Flags: []cli.Flag{jsonFlag()},
			}, inspectTopic),
			p.leaf(&cli.Command{
				Name: "agent", Usage: "parse a client's agent string", ArgsUsage: "STRING",
				Flags: []cli.Flag{jsonFlag()},
			}, inspectAgent),
		},
	}
}

// enrView is `inspect enr --json`: what the record lacks is left out.
type enrView struct {
	NodeID   eth2.NodeID      `json:"node_id"`
	PeerID   string           `json:"peer_id"`
	Seq      uint64           `json:"seq"`
	IP       string           `json:"ip,omitempty"`
	IP6      string           `json:"ip6,omitempty"`
	TCP      uint16           `json:"tcp,omitempty"`
	UDP      uint16           `json:"udp,omitempty"`
	QUIC     uint16           `json:"quic,omitempty"`
	TCP6     uint16           `json:"tcp6,omitempty"`
	UDP6     uint16           `json:"udp6,omitempty"`
	QUIC6    uint16           `json:"quic6,omitempty"`
	Eth2     *eth2.ENRForkID  `json:"eth2,omitempty"`
	Attnets  *eth2.Attnets    `json:"attnets,omitempty"`
	Syncnets *eth2.Syncnets   `json:"syncnets,omitempty"`
	CGC      *uint64          `json:"cgc,omitempty"`
	NFD      *eth2.ForkDigest `json:"nfd,omitempty"`
	Client   *enr.Client      `json:"client,omitempty"`
	Errors   []enr.EntryError `json:"errors,omitempty"`
}

func inspectENR(_ context.Context, in invocation) error {
	arg, err := in.oneArgument("ENR")
	if err != nil {
		return err
	}
	r, err := enr.Parse(arg)
	if err != nil {
		return asUsage(err)
	}
	view := enrView{
		NodeID: r.NodeID, PeerID: r.PeerID, Seq: r.Seq,
		TCP: r.TCP, UDP: r.UDP, QUIC: r.QUIC, TCP6: r.TCP6, UDP6: r.UDP6, QUIC6: r.QUIC6,
		Eth2: r.Eth2, Attnets: r.Attnets, Syncnets: r.Syncnets, CGC: r.CustodyGroupCount, NFD: r.NFD,
		Errors: r.Errors,
	}
	if view.Client, err = enr.ClientOf(r.Raw); err != nil {
		view.Errors = append(view.Errors, enr.EntryError{Key: "client", Err: err.Error()})
	} else if c := view.Client; c != nil {
		c.Name, c.Version, c.Build = printable.Clean(c.Name), printable.Clean(c.Version), printable.Clean(c.Build)
	}
	if r.IP4.IsValid() {
		view.IP = r.IP4.String()
	}
	if r.IP6.IsValid() {
		view.IP6 = r.IP6.String()
	}
	return in.print(view)
}

// periodView is one element of `inspect digest --json`.
type periodView struct {
	FirstEpoch  eth2.Epoch           `json:"first_epoch"`
	Starts      *time.Time           `json:"starts"` // null where it is not known
	Name        string               `json:"name"`
	ForkVersion eth2.Version         `json:"fork_version"`
	Digest      eth2.ForkDigest      `json:"digest"`
	BlobParams  *eth2.BlobParameters `json:"blob_params"`
}

func viewPeriod(p eth2.Period, clock eth2.Clock) periodView {
	var starts *time.Time
	if !clock.Genesis.IsZero() {
		starts = new(clock.EpochStart(p.FirstEpoch).UTC())
	}
	return periodView{FirstEpoch: p.FirstEpoch, Starts: starts, Name: p.Name, ForkVersion: p.ForkVersion, Digest: p.Digest, BlobParams: p.BlobParams}
}

func inspectDigest(_ context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	net, err := in.network()
	if err != nil {
		return err
	}
	if in.cmd.IsSet(flagEpoch) {
		return in.print(viewPeriod(net.Schedule.At(eth2.Epoch(in.cmd.Uint64(flagEpoch))), net.Clock))
	}
	views := make([]periodView, len(net.Schedule.Periods))
	for i, p := range net.Schedule.Periods {
		views[i] = viewPeriod(p, net.Clock)
	}
	if in.cmd.Bool(flagJSON) {
		return writeJSON(in.stdout, views)
	}
	w := tabwriter.NewWriter(in.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "FIRST EPOCH\tNAME\tFORK VERSION\tDIGEST\tBLOB PARAMS\tSTARTS")
	for _, v := range views {
		blob := "-"
		if v.BlobParams != nil {
			blob = fmt.Sprintf("epoch %d, at most %d", v.BlobParams.Epoch, v.BlobParams.MaxBlobsPerBlock)
		}
		starts := "-"
		if v.Starts != nil {
			starts = v.Starts.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", v.FirstEpoch, v.Name, v.ForkVersion, v.Digest, blob, starts)
	}
	return w.Flush()
}

// subnetsView is `inspect subnets --json`; groups and columns only with --cgc.
type subnetsView struct {
	NodeID            eth2.NodeID `json:"node_id"`
	Epoch             eth2.Epoch  `json:"epoch"`
	SubscribedSubnets []int       `json:"subscribed_subnets"`
	Lighthouse        []int       `json:"lighthouse"` // by the static rule
	Staggered         []int       `json:"staggered"`
	CustodyGroups     []uint64    `json:"custody_groups,omitempty"`
	Columns           []uint64    `json:"columns,omitempty"`
}

func inspectSubnets(_ context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	var view subnetsView
	if err := view.NodeID.UnmarshalText([]byte(in.cmd.String(flagNodeID))); err != nil {
		return usagef("--%s: %w", flagNodeID, err)
	}
	view.Epoch = eth2.Epoch(in.cmd.Uint64(flagEpoch))
	if !in.cmd.IsSet(flagEpoch) {
		net, err := in.network()
		if err != nil {
			return err
		}
		view.Epoch = net.Clock.EpochAt(time.Now())
	}
	view.SubscribedSubnets = eth2.ComputeSubscribedSubnets(view.NodeID, view.Epoch)
	view.Lighthouse = eth2.LighthouseSubnets(view.NodeID)
	view.Staggered = eth2.StaggeredSubnets(view.NodeID, view.Epoch)
	if in.cmd.IsSet(flagCGC) {
		cgc := in.cmd.Uint64(flagCGC)
		var err error
		if view.CustodyGroups, err = eth2.CustodyGroups(view.NodeID, cgc); err != nil {
			return usagef("--%s: %w", flagCGC, err)
		}
		if view.Columns, err = eth2.CustodyColumns(view.NodeID, cgc); err != nil {
			return usagef("--%s: %w", flagCGC, err)
		}
	}
	return in.print(view)
}

// topicView is `inspect topic --json`; the subnet only where the topic has one.
type topicView struct {
	ForkDigest eth2.ForkDigest `json:"fork_digest"`
	Kind       eth2.TopicKind  `json:"kind"`
	Name       string          `json:"name"`
	Subnet     *int            `json:"subnet,omitempty"`
}

func inspectTopic(_ context.Context, in invocation) error {
	arg, err := in.oneArgument("gossip topic")
	if err != nil {
		return err
	}
	t, err := eth2.ParseTopic(arg)
	if err != nil {
		return asUsage(err)
	}
	view := topicView{ForkDigest: t.Digest, Kind: t.Kind, Name: t.Name}
	if t.Kind != eth2.TopicOther {
		view.Subnet = &t.Subnet
	}
	return in.print(view)
}

// agentView is `inspect agent --json`.
type agentView struct {
	Client  string `json:"client"`
	Version string `json:"client_version"` // as sent, with its commit
	Release string `json:"client_release"` // without
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func inspectAgent(_ context.Context, in invocation) error {
	// Agent strings hold spaces: unquoted ones come as several arguments.
	agent := strings.Join(in.cmd.Args().Slice(), " ")
	if agent == "" {
		return usagef("%s takes an agent string, as in '%s Lighthouse/v8.0.1-1a2b3c4/x86_64-linux'", in.cmd.FullName(), in.cmd.FullName())
	}
	c := eth2.ParseAgent(agent)
	view := agentView{Client: string(c.Kind), Version: c.Version, Release: c.Release(), OS: c.OS, Arch: c.Arch}
	if !in.cmd.Bool(flagJSON) {
		for _, s := range []*string{&view.Version, &view.Release, &view.OS, &view.Arch} {
			*s = cmp.Or(*s, string(eth2.ClientUnknown))
		}
	}
	return in.print(view)
}
