package estimate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/eth2"
)

// client is what the estimator knows about one client. One that is not in the table is treated
// as a mixture of those that are.
type client struct {
	kind eth2.ClientKind
	// share of the network's nodes.
	share    float64
	releases []release
	// custodyDips: a node reports CUSTODY_REQUIREMENT while it is out of sync. The custody
	// group counts of other clients never fall while they run.
	custodyDips bool
	// measured: the window was measured on a real node.
	measured bool
	// omitsExternal: validators of an external validator client are not in the custody group
	// count, so that a low count does not mean few validators.
	omitsExternal bool
}

// release is the subscription window from a major version on.
type release struct {
	from int
	window
}

// clients is the table of clients, in any order; nothing changes it. The windows are from
// Lighthouse subnet_service/mod.rs, Prysm sync/subscriber_beacon_attestation.go, Nimbus
// action_tracker.nim, Teku AttestationTopicSubscriber.java, Lodestar attnetsService.ts,
// Grandine attestation_subnets.rs. Reading code has been wrong (Lighthouse before 7 was
// taken to leave as the duty's slot begins), so each says whether it was measured on a real
// node; docs/methodology.md has the measurements.
var clients = []client{
	// Measured: 5.3, all of 375 subscriptions. Not measured: other versions.
	{kind: eth2.ClientLighthouse, share: 0.45, measured: true, releases: []release{{window: window{policy: slotsAhead, lead: 1, slots: 2}}}},
	// Measured: 7.0.0.
	{kind: eth2.ClientPrysm, share: 0.20, measured: true, releases: []release{{window: window{policy: epochStart}}}},
	// Not measured.
	{kind: eth2.ClientNimbus, share: 0.12, releases: []release{{window: window{policy: slotsAhead, lead: 3, slots: 4}}},
		custodyDips: true, omitsExternal: true},
	// Not measured.
	{kind: eth2.ClientTeku, share: 0.12, releases: []release{{window: window{policy: epochAhead}}}},
	// Not measured.
	{kind: eth2.ClientLodestar, share: 0.06, releases: []release{{window: window{policy: slotsAhead, lead: 2, slots: 3}}}},
	// Not measured.
	{kind: eth2.ClientGrandine, share: 0.05, releases: []release{{window: window{policy: slotsAhead, lead: 1, slots: 2}}}},
}

// rowOf is nil for a client that is not in the table.
func rowOf(kind eth2.ClientKind) *client {
	for i := range clients {
		if clients[i].kind == kind {
			return &clients[i]
		}
	}
	return nil
}

// OmitsExternalValidators reports whether a client leaves the validators of an external
// validator client out of its custody group count: then CUSTODY_REQUIREMENT does not mean
// that there are none.
func OmitsExternalValidators(kind eth2.ClientKind) bool {
	row := rowOf(kind)
	return row != nil && row.omitsExternal
}

// latest is the window of the newest release.
func (c *client) latest() window {
	return slices.MaxFunc(c.releases, func(a, b release) int { return cmp.Compare(a.from, b.from) }).window
}

// windowOf is the window of a client that is in the table: that of its version, or of the
// newest release when the agent does not say a version.
func windowOf(c eth2.Client) (w window, ok bool) {
	row := rowOf(c.Kind)
	if row == nil {
		return window{}, false
	}
	if len(row.releases) == 1 {
		return row.releases[0].window, true
	}
	major, ok := majorOf(c)
	if !ok {
		return row.latest(), true
	}
	from := -1
	for _, r := range row.releases {
		if r.from <= major && r.from > from {
			w, from = r.window, r.from
		}
	}
	return w, true
}

func majorOf(c eth2.Client) (int, bool) {
	major, _, _ := strings.Cut(c.Release(), ".")
	n, err := strconv.Atoi(major)
	return n, err == nil && n >= 0
}

// candidate is a window that a client may have, and the probability that it does.
type candidate struct {
	window
	share float64
}

// candidatesOf are the windows that a client may have, the likeliest first: one when it is
// in the table, those of all newest releases when it is not.
func candidatesOf(c eth2.Client) []candidate {
	if w, ok := windowOf(c); ok {
		return []candidate{{w, 1}}
	}
	mixture := make([]candidate, 0, len(clients))
	for i := range clients {
		w := clients[i].latest()
		same := slices.IndexFunc(mixture, func(x candidate) bool { return x.window == w })
		if same < 0 {
			mixture = append(mixture, candidate{w, clients[i].share})
		} else {
			mixture[same].share += clients[i].share
		}
	}
	slices.SortFunc(mixture, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.share, a.share), cmp.Compare(a.key(), b.key()))
	})
	return mixture
}
