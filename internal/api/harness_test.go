package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/tracker"
)

// genesis is that of the network of tests.
var genesis = time.Now().Add(-3 * 24 * time.Hour).Truncate(24 * time.Hour)

func testClock() eth2.Clock {
	return eth2.Clock{Genesis: genesis, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}
}

func testSchedule(t testing.TB) eth2.Schedule {
	t.Helper()
	s, err := eth2.NewSchedule(eth2.Root{1}, []eth2.Fork{
		{Name: "phase0"}, {Name: "electra", Version: eth2.Version{5}}, {Name: "fulu", Version: eth2.Version{6}}, {Name: "gloas", Version: eth2.Version{7}, Epoch: 100_000},
	}, nil, 9)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testPeer(i int) string { return fmt.Sprintf("16Uiu2HAm%040d", i) }

func testNodeID(i int) eth2.NodeID { return eth2.NodeID{byte(i), byte(i >> 8), byte(i >> 16), 1} }

var testAgents = []string{
	"Lighthouse/v8.0.1-abcdef0/x86_64-linux", "Prysm/v7.0.0/abcdef", "teku/teku/v26.8.0/linux-x86_64/-x", "nimbus",
	"lodestar/v1.44.0", "Grandine/2.0.1", "erigon/caplin", "=cmd|' /C calc'!A0", "Lighthouse/v8.0.0-1234567/aarch64-linux",
}

// testCrawl is a tracker and a dataset of a crawl of so many nodes, some of which were only
// found, or failed.
type testCrawl struct {
	t       testing.TB
	dir     string
	tracker *tracker.Tracker
	writer  *dataset.Writer
	rand    *rand.Rand
	visits  int
	next    eth2.ForkDigest
	// firstByte is that of all addresses, recordText in all records.
	firstByte, recordText string
	sentry                string // the crawler id
}

func newTestCrawl(t testing.TB) *testCrawl {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	c := &testCrawl{t: t, dir: t.TempDir(), rand: rand.New(rand.NewPCG(1, 2)), firstByte: "45", recordText: "0", sentry: "c"}
	var err error
	if c.writer, err = dataset.Open(c.dir, log); err != nil {
		t.Fatal(err)
	}
	c.tracker, err = tracker.Open(t.Context(), tracker.Config{
		Dir: c.dir, Network: "testnet", Log: log,
		Params: estimate.Params{Clock: testClock(), Preset: eth2.MainnetPreset(), ActiveValidators: 950_000},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.tracker.Close(); c.writer.Close() })
	next, _ := testSchedule(t).Next(10)
	c.next = next.Digest
	return c
}

// crawl visits the nodes from one to another at a time.
func (c *testCrawl) crawl(from, to int, at time.Time) {
	c.t.Helper()
	for i := from; i < to; i++ {
		c.visit(i, at.Add(time.Duration(i-from)*time.Millisecond), fmt.Sprintf("%s.%d.%d.%d", c.firstByte, 1+i>>16, i>>8&255, i&255), testAgents[i%len(testAgents)])
	}
	c.commit()
}

func (c *testCrawl) commit() {
	c.t.Helper()
	c.apply()
	if err := c.tracker.Recompute(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// apply commits a segment as a consumer does.
func (c *testCrawl) apply() {
	c.t.Helper()
	segment := c.writer.Segment()
	c.visits++
	keys := dataset.Coverage{}
	keys.Add("c-1", uint64(c.visits))
	if err := c.writer.Commit(keys); err != nil {
		c.t.Fatal(err)
	}
	c.tracker.Apply(segment)
	if err := c.tracker.Write(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// visit finds a node and, but for every seventh, completes a handshake with it.
func (c *testCrawl) visit(i int, at time.Time, ip, agent string) {
	c.visits++
	common := c.common(at)
	digest, cgc, nodeID := testSchedule(c.t).At(10).Digest, uint64(4+i%124), testNodeID(i)
	record := "enr:-" + strings.Repeat(c.recordText, 150) + strconv.Itoa(i)
	found := &event.PeerDiscovered{
		Common: common, ENR: record, ID: testPeer(i), NodeID: nodeID, Seq: 1, IP: ip, Port: 9000, ForkDigest: &digest, CustodyGroupCount: &cgc, NFD: &c.next,
	}
	c.tracker.Add(found)
	c.append(dataset.Append(c.writer, dataset.FromPeerDiscovered(found)))
	ended := &event.VisitEnded{Common: common, VisitID: fmt.Sprintf("c-1-%d", c.visits), ID: testPeer(i), Direction: event.Outbound, Transport: event.QUIC, Started: at.UnixMilli(), Ended: at.UnixMilli() + 5, Outcome: event.OutcomeDialTimeout}
	if i%7 != 6 {
		syncnets, long := eth2.Syncnets(0), eth2.NewAttnets([]int{i % 64, (i + 1) % 64})
		handshake := &event.MetadataReceived{
			Common: common, ENR: record, ID: testPeer(i), NodeID: &nodeID, Multiaddr: "/ip4/" + ip + "/udp/9001/quic-v1", Epoch: testClock().EpochAt(at),
			MetaData:          &event.MetaData{SeqNumber: 1, Attnets: long, Syncnets: &syncnets, CustodyGroupCount: &cgc},
			SubscribedSubnets: []int{i % 64, (i + 1) % 64, (i + 2 + c.rand.IntN(9)) % 64}, ClientVersion: agent, VisitID: ended.VisitID,
			Direction: event.Outbound, Transport: event.QUIC, ForkDigest: digest,
		}
		ended.Outcome, ended.ClientVersion = event.OutcomeOK, agent
		c.tracker.Add(handshake)
		row := dataset.FromMetadataReceived(handshake)
		derived := dataset.ValidatorRowOf(&row)
		derived.LongLivedSubnets = dataset.List(long.Subnets())
		parsed := eth2.ParseAgent(agent)
		derived.Client, derived.ClientRelease, derived.OS, derived.Arch = string(parsed.Kind), known(parsed.Release()), known(parsed.OS), known(parsed.Arch)
		c.append(dataset.Append(c.writer, row))
		c.append(dataset.Append(c.writer, derived))
	}
	c.tracker.Add(ended)
	c.append(dataset.Append(c.writer, dataset.FromVisitEnded(ended)))
}

func (c *testCrawl) common(at time.Time) event.Common {
	return event.Common{Network: "testnet", CrawlerID: c.sentry, CrawlerLocation: "here", Timestamp: at.UnixMilli()}
}

func (c *testCrawl) append(err error) {
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *testCrawl) sources() Sources {
	places, err := geo.Open(nil, slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	return Sources{
		Places:  places.Sources,
		Network: "testnet", Schedule: testSchedule(c.t), Clock: testClock(), DataDir: c.dir, State: c.tracker.State,
		Ingest: func() Ingest {
			return Ingest{Lag: 3, Stored: 100, LastCommit: time.Now(), Events: map[string]uint64{"c": 100}, Missing: map[string]uint64{"c": 1}}
		},
		Ready: func() error { return nil },
	}
}

// testServer answers requests without a network.
type testServer struct {
	*Server
	t       testing.TB
	handler http.Handler
	key     string // of the scope full
	crawl   *testCrawl
}

// newTestServer has a crawl of so many nodes.
func newTestServer(t testing.TB, nodes int) *testServer {
	t.Helper()
	c := newTestCrawl(t)
	at := time.Now().Add(-time.Hour)
	c.crawl(0, nodes, at)
	c.tracker.Hour()
	return serverOf(t, c, c.sources(), Config{})
}

func serverOf(t testing.TB, c *testCrawl, src Sources, cfg Config) *testServer {
	t.Helper()
	s := boundServer(t, c, cfg)
	s.prepare(src)
	s.views.update()
	s.handler = s.Server.handler()
	return s
}

// boundServer has sources once it runs.
func boundServer(t testing.TB, c *testCrawl, cfg Config) *testServer {
	t.Helper()
	key, line, err := NewKey("ops", ScopeFull)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Address, cfg.KeysFile, cfg.Log = "127.0.0.1:0", path, slog.New(slog.DiscardHandler)
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &testServer{Server: s, t: t, key: key, crawl: c}
}

// get asks for a path, with the key if full is set, and checks the answer against the
// specification.
func (s *testServer) get(path string, full bool) *httptest.ResponseRecorder {
	s.t.Helper()
	header := http.Header{}
	if full {
		header.Set("X-API-Key", s.key)
	}
	return s.ask(http.MethodGet, path, header)
}

func (s *testServer) ask(method, path string, header http.Header) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, path, nil)
	r.Header = header
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, r)
	if header.Get("Accept-Encoding") == "" {
		checkAnswer(s.t, method, path, rec)
	}
	return rec
}

// object is the JSON of an answer whose status must be 200.
func (s *testServer) object(path string, full bool) map[string]any {
	s.t.Helper()
	rec := s.get(path, full)
	var out map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil || rec.Code != http.StatusOK {
		s.t.Fatalf("%s: %d %v: %.300s", path, rec.Code, err, rec.Body)
	}
	return out
}

var specDoc = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(specYAML)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

// checkAnswer compares an answer with the specification.
func checkAnswer(t testing.TB, method, path string, rec *httptest.ResponseRecorder) {
	t.Helper()
	doc, err := specDoc()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	plain, _, _ := strings.Cut(path, "?")
	responses := openapi3.NewResponses()
	if item := doc.Paths.Find(specPath(plain)); item != nil && item.Get != nil {
		responses = item.Get.Responses
	}
	response := responses.Status(rec.Code)
	if response == nil {
		response = responses.Default()
	}
	if response == nil { // of a path that does not exist
		response = doc.Components.Responses["Problem"]
	}
	if method == http.MethodHead || rec.Code == http.StatusNotModified || rec.Code == http.StatusNoContent {
		if rec.Body.Len() > 0 && method != http.MethodHead {
			t.Errorf("%s: %d with a body: %.100s", path, rec.Code, rec.Body)
		}
		return
	}
	kind, _, err := mime.ParseMediaType(rec.Header().Get("Content-Type"))
	if err != nil {
		t.Errorf("%s: %d, content type %q: %v", path, rec.Code, rec.Header().Get("Content-Type"), err)
		return
	}
	content := response.Value.Content.Get(kind)
	if content == nil {
		t.Errorf("%s: %d of type %s is not in openapi.yaml: %.200s", path, rec.Code, kind, rec.Body)
		return
	}
	if !strings.HasSuffix(kind, "json") || kind == typeNDJSON {
		return
	}
	dec := json.NewDecoder(strings.NewReader(rec.Body.String()))
	var body any
	if err := dec.Decode(&body); err != nil {
		t.Errorf("%s: %d is no JSON: %v: %.200s", path, rec.Code, err, rec.Body)
		return
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Errorf("%s: text behind the JSON", path)
	}
	if err := content.Schema.Value.VisitJSON(body, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("%s: %d is not as specified: %.900v", path, rec.Code, err)
	}
}

// specPath is the path of the specification that a path belongs to.
func specPath(path string) string {
	for _, route := range routes() {
		want, have := strings.Split(route.path, "/"), strings.Split(path, "/")
		same := len(want) == len(have)
		for i := range want {
			same = same && (want[i] == have[i] || strings.HasPrefix(want[i], "{"))
		}
		if same {
			return route.path
		}
	}
	return path
}
