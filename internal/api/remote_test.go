package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	apiclient "github.com/chainbound/valtrack/client"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/report"
)

// bothWays is a report of a data directory, and one of an API that serves the same State.
func bothWays(t *testing.T, full bool) (*report.Report, *report.Remote) {
	t.Helper()
	c := newTestCrawl(t)
	for i := range 60 { // in as many prefixes, so that each counts in full
		c.visit(i, time.Now().Add(-time.Hour), fmt.Sprintf("45.1.%d.3", i), testAgents[i%len(testAgents)])
	}
	c.announceAll(60, time.Now().Add(-50*time.Minute))
	c.fail(3, time.Now().Add(-40*time.Minute), "Lighthouse/v9.0.0-abcdef0/x86_64-linux") // newer than its handshake
	c.fail(60, time.Now().Add(-40*time.Minute), "teku/teku/v26.8.0/linux-x86_64/-x")     // never completed one
	c.commit()
	c.tracker.Hour()
	s := serverOf(t, c, c.sources(), Config{})
	if err := s.crawl.tracker.Close(); err != nil { // writes it
		t.Fatal(err)
	}
	server := httptest.NewServer(s.handler)
	t.Cleanup(server.Close)
	cfg := apiclient.Config{URL: server.URL}
	if full {
		cfg.Key = s.key
	}
	asking, err := apiclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	local, err := report.Read(t.Context(), s.crawl.dir, dataset.Range{})
	if err != nil {
		t.Fatal(err)
	}
	return local, report.NewRemote(asking)
}

// announceAll has so many nodes publish records that say all there is to say about forks.
func (c *testCrawl) announceAll(nodes int, at time.Time) {
	next, none, other := eth2.Epoch(100_000), eth2.FarFutureEpoch, eth2.Epoch(99)
	version, noDigest := eth2.Version{7}, eth2.ForkDigest{}
	for i := range nodes {
		e := &event.PeerDiscovered{
			Common: c.common(at), ENR: "enr:-" + strconv.Itoa(i), ID: testPeer(i), NodeID: testNodeID(i), Seq: 2, IP: fmt.Sprintf("45.1.%d.3", i), Port: 9000,
			CustodyGroupCount: new(uint64(4 + i%124)),
		}
		switch i % 6 {
		case 0:
			e.NextForkVersion, e.NextForkEpoch, e.NFD = &version, &next, &c.next
		case 1:
			e.NextForkVersion, e.NextForkEpoch, e.NFD = &eth2.Version{6}, &none, &noDigest
		case 2: // of before nfd
			e.NextForkVersion, e.NextForkEpoch = &version, &next
		case 3:
			e.NextForkVersion, e.NextForkEpoch = &version, &other
		case 4:
			e.NextForkVersion, e.NextForkEpoch = &eth2.Version{6}, &none
		}
		c.tracker.Add(e)
		c.append(dataset.Append(c.writer, dataset.FromPeerDiscovered(e)))
	}
}

// fail has a visit that completes no handshake, and reads the agent before.
func (c *testCrawl) fail(i int, at time.Time, agent string) {
	c.visits++
	e := &event.VisitEnded{
		Common: c.common(at), VisitID: fmt.Sprintf("c-1-%d", c.visits), ID: testPeer(i), Direction: event.Outbound, Transport: event.QUIC,
		Started: at.UnixMilli(), Ended: at.UnixMilli() + 5, Outcome: event.OutcomeStatus, ClientVersion: agent,
	}
	c.tracker.Add(e)
	c.append(dataset.Append(c.writer, dataset.FromVisitEnded(e)))
}

func textOf(t *testing.T, view interface{ WriteText(w io.Writer) error }) string {
	t.Helper()
	var b bytes.Buffer
	if err := view.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A summary from the API has the lines of one from the datasets, in the same order, as far as
// the API tells them.
func TestRemoteSummary(t *testing.T) {
	local, remote := bothWays(t, false)
	summary, err := remote.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines := func(text string) (out []string) {
		text, _, _ = strings.Cut(text, "\n[low to high]") // the legend
		for line := range strings.Lines(text) {
			if line = strings.Join(strings.Fields(line), " "); line != "" {
				out = append(out, line)
			}
		}
		return out
	}
	got, want := lines(textOf(t, summary)), lines(textOf(t, local.Summary()))
	at := 0
	for _, line := range got {
		line, _, _ = strings.Cut(line, " dialled") // where the other has ended visits
		line = strings.TrimSuffix(line, " 60")
		found := false
		for i := at; i < len(want) && !found; i++ {
			if strings.HasPrefix(want[i], strings.TrimSuffix(line, ", 60")) {
				at, found = i+1, true
			}
		}
		if !found {
			t.Errorf("%q is not in the report of the datasets, or not in this place", line)
		}
	}
	for _, heading := range []string{"as of", "attachments", "share", "nodes per validator", "unaccounted", "stake", "seen", "CLIENT NODES WITH", "VALIDATORS OF A NODE", "LARGEST NODES", "CLIENT NODES SHARE VERSIONS", "CUSTODY GROUPS", "OUTCOME"} {
		if !strings.Contains("\n"+strings.Join(got, "\n"), "\n"+heading) {
			t.Errorf("no %q", heading)
		}
	}
	if t.Failed() {
		t.Logf("%s\n-- of the datasets --\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var asJSON bytes.Buffer
	fmt.Fprint(&asJSON, string(marshal(summary)))
	for _, unknown := range []string{`"rows"`, `"program"`, `"no_hello"`, `"errors"`, `"lost_days"`, `"uncertainty"`} {
		if strings.Contains(asJSON.String(), unknown) {
			t.Errorf("%s is in the JSON, and not known", unknown)
		}
	}
}

// Other reports are the same text.
func TestRemoteReports(t *testing.T) {
	local, remote := bothWays(t, true)
	forks, err := remote.Forks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := local.Forks(&report.Schedule{Network: "testnet", Schedule: testSchedule(t), Clock: testClock()})
	if diff := cmp.Diff(textOf(t, want), textOf(t, forks)); diff != "" {
		t.Errorf("--forks: %s", diff)
	}
	if got := textOf(t, forks); !strings.Contains(got, "17 of 52 nodes") || !strings.Contains(got, "none") {
		t.Errorf("not all kinds of announcements are in the test:\n%s", got)
	}
	if v := forks.Validators; v == nil || v.Total.Nodes != 52 || v.Ready.Nodes != 17 || v.Ready.Nodes+v.NotReady.Nodes+v.Unknown.Nodes != 52 ||
		v.Ready.Low > v.Ready.Validators || v.Ready.High < v.Ready.Validators || v.Ready.High > v.Total.High || forks.Scheduled == nil || !*forks.Scheduled {
		t.Errorf("validators by readiness: %+v", v)
	}
	for _, by := range []string{"client", "os", "country"} {
		groups, err := remote.Groups(t.Context(), by)
		if err != nil {
			t.Fatal(err)
		}
		want, err := local.Groups(by, false)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(textOf(t, want), textOf(t, groups)); diff != "" {
			t.Errorf("--by %s: %s", by, diff)
		}
	}
}

// tableCells are the cells of the first table of a text, by heading.
func tableCells(text string, headings ...string) (rows [][]string) {
	lines := strings.Split(text, "\n")
	for _, line := range lines[1:] {
		if line == "" {
			break
		}
		var row []string
		for _, h := range headings {
			at := strings.Index(lines[0], h)
			cell, _, _ := strings.Cut(line[min(at, len(line)):], "  ")
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	return rows
}

func TestRemoteNodes(t *testing.T) {
	local, remote := bothWays(t, true)
	nodes, err := remote.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := local.WriteNodes(&b); err != nil {
		t.Fatal(err)
	}
	headings := []string{"ID", "CLIENT", "VERSION", "VALIDATORS", "SINCE", "FLAGS", "CGC", "LONG-LIVED", "OBSERVATIONS", "LAST HEARD", "TRANSPORT"}
	got, want := tableCells(textOf(t, nodes), headings...), tableCells(b.String(), headings...)
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 50 {
		t.Errorf("%d nodes: %s", len(want), diff)
	}
	for _, name := range []string{testPeer(3), testPeer(3)[:len(testPeer(3))-1] + "3", "45.1.3.3", "45.1.3.3:9001", "/ip4/45.1.3.3/udp/9001/quic-v1/p2p/" + testPeer(3), "0x0300"} {
		n, err := remote.Node(t.Context(), name)
		if err != nil || n.ID != testPeer(3) {
			t.Errorf("%s: %v, %s", name, err, n.ID)
			continue
		}
		text := textOf(t, n)
		for _, part := range []string{testPeer(3), "45.1.3.3", n.Why, "DAY"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: no %q in\n%s", name, part, text)
			}
		}
	}
	for name, want := range map[string]string{"16Uiu2HAm": "several nodes", "16Uiu2Zzzz": "none has", "x": "at least 6 characters", "203.0.113.1": "none has"} {
		if _, err := remote.Node(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What export nodes says, the API says, also of a node that was never reached.
	for _, i := range []int{0, 1, 2, 3, 5, 6, 60} {
		n, err := remote.Node(t.Context(), testPeer(i))
		at := slices.IndexFunc(local.AllNodes(), func(n *report.Node) bool { return n.ID == testPeer(i) })
		row := local.AllNodes()[at].Row()
		want := []any{row.Client, row.ClientRelease, row.OS, row.Arch, row.ForkDigest, row.NextForkVersion, row.NextForkEpoch, row.NFD}
		got := []any{n.Client, n.ClientRelease, n.OS, n.Arch, n.ForkDigest, n.NextForkVersion, n.NextForkEpoch, n.NFD}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("node %d: %v, %s", i, err, diff)
		}
	}
	changes, err := remote.Changes(t.Context(), 0)
	if err != nil || !strings.HasPrefix(textOf(t, changes), "since") {
		t.Errorf("%v: %+v", err, changes)
	}
}
