package api

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// big is a view of so many nodes, which share the peers of the server's.
func (s *testServer) big(nodes int) *view {
	last := s.views.current.Load()
	v := &view{src: last.src, number: last.number + 1, state: last.state, totals: last.totals, groups: last.groups, nodes: make([]node, nodes)}
	for i := range v.nodes {
		v.nodes[i] = last.nodes[i%len(last.nodes)]
	}
	return v
}

// slowReader takes an answer, and looks at the heap when parts of it were taken.
type slowReader struct {
	header http.Header
	size   int
	at     []int // bytes, ascending
	live   uint64
}

func (r *slowReader) Header() http.Header { return r.header }
func (r *slowReader) WriteHeader(int)     {}
func (r *slowReader) Write(b []byte) (int, error) {
	r.size += len(b)
	for len(r.at) > 0 && r.size >= r.at[0] {
		r.at = r.at[1:]
		r.live = max(r.live, liveHeap())
	}
	return len(b), nil
}

// liveHeap is the memory that is in use after all garbage was collected.
func liveHeap() uint64 {
	runtime.GC() // twice: what a pool has goes with the second
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// While an export is read, it has the same memory for few nodes as for many, and for each row it
// allocates as much.
func TestExportsHaveConstantMemory(t *testing.T) {
	const slack, maxLive = 512 << 10, 12 << 20
	s := newTestServer(t, 100)
	export := func(path, encoding string, r *slowReader) (allocated uint64) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		req.Header.Set("Accept-Encoding", encoding)
		req.Header.Set("X-API-Key", s.key)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s.handler.ServeHTTP(r, req)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	sizes := []int{12_000, 36_000}
	few := s.views.current.Load()
	var views []*view
	for _, n := range sizes {
		v := s.big(n)
		v.sorted(sorting{column: &nodeColumns[0]}) // belongs to the view
		views = append(views, v)
	}
	for _, c := range []struct{ path, encoding string }{
		{"/api/v1/nodes?format=ndjson", ""}, {"/api/v1/nodes?format=ndjson", "zstd"}, {"/api/v1/nodes?format=ndjson", "gzip"},
		{"/api/v1/nodes?format=csv", ""}, {"/api/v1/nodes?format=geojson", ""}, {"/api/v1/nodes?format=parquet", ""}, {"/validators", ""},
	} {
		live, row := make([]uint64, 2), make([]float64, 2)
		s.views.current.Store(few)
		export(c.path, c.encoding, &slowReader{header: http.Header{}}) // fills pools
		for i, v := range views {
			s.views.current.Store(v)
			whole := &slowReader{header: http.Header{}}
			row[i] = float64(export(c.path, c.encoding, whole)) / float64(sizes[i])
			before := liveHeap()
			slow := &slowReader{header: http.Header{}, at: []int{whole.size / 3, whole.size * 2 / 3, whole.size * 19 / 20}}
			export(c.path, c.encoding, slow)
			if len(slow.at) > 0 || slow.live == 0 {
				t.Fatalf("%v: of %d bytes parts %v were not taken", c, whole.size, slow.at)
			}
			live[i] = slow.live - min(before, slow.live)
		}
		if live[1] > live[0]+slack || row[1] > 1.2*row[0]+16 || live[1] > maxLive {
			t.Errorf("%v is large, or grows with the nodes: live %d and %d KiB, allocated per row %.0f and %.0f bytes", c, live[0]>>10, live[1]>>10, row[0], row[1])
		}
	}
}

// Exports of slow clients keep few views in memory, and none when they have ended.
func TestExportsShareViews(t *testing.T) {
	for nodes, want := range map[int]int{10: 8, maxExported / 4: 4, maxExported: minExported} {
		var e exportViews
		var opened []*view
		var ends []func()
		for range 8 {
			v, end := e.open(&view{nodes: make([]node, nodes)}, false)
			if !slices.Contains(opened, v) {
				opened = append(opened, v)
			}
			ends = append(ends, end)
		}
		if len(opened) != want || len(e.list) != want {
			t.Errorf("%d nodes: %d views are read, want %d", nodes, len(opened), want)
		}
		full := want < 8
		if v, _ := e.open(&view{nodes: make([]node, nodes)}, true); (v == nil) != full {
			t.Errorf("%d nodes: the pages before are of this view, and it is %v", nodes, v)
		}
		last := e.list[len(e.list)-1]
		last.opened = time.Now().Add(-exportTime)
		if v, _ := e.open(&view{nodes: make([]node, nodes)}, false); v == last.view {
			t.Errorf("%d nodes: an export reads an old view", nodes)
		}
		if v, end := e.open(last.view, true); v != last.view {
			t.Errorf("%d nodes: a view that is read cannot be read", nodes)
		} else {
			ends = append(ends, end)
		}
		for _, end := range ends {
			end()
			end()
		}
		if full && len(e.list) > 0 {
			t.Errorf("%d nodes: %d views are left", nodes, len(e.list))
		}
	}
	s := newTestServer(t, 10)
	s.views.exports.list = []*exportView{{view: &view{nodes: make([]node, maxExported)}, readers: 1}, {view: &view{nodes: make([]node, maxExported)}, readers: 1}}
	for _, path := range []string{"/api/v1/nodes?format=csv", "/validators"} {
		if rec := s.get(path, false); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", path, rec.Code, fmt.Sprint(rec.Header()))
		}
	}
	if s.limits.exports.inUse() != 0 {
		t.Error("slots are in use")
	}
}

// A request that matches the tag of the older view that others read is answered with 304, and
// leaves neither its slot nor a reader of the view.
func TestExportsOfAKnownViewAreReleased(t *testing.T) {
	s := newTestServer(t, 10)
	old := s.views.current.Load()
	s.views.exports.list = []*exportView{
		{view: s.big(maxExported), opened: time.Now(), readers: 1},
		{view: old, opened: time.Now(), readers: 1},
	}
	newer := s.big(10)
	newer.number += 10
	s.views.current.Store(newer)
	for _, path := range []string{"/api/v1/nodes?format=csv", "/api/v1/nodes?format=ndjson", "/api/v1/nodes?format=geojson", "/api/v1/nodes?format=parquet", "/validators"} {
		for _, full := range []bool{false, true} {
			header := http.Header{}
			if full {
				header.Set("X-API-Key", s.key)
			}
			current := s.ask(http.MethodGet, path, header) // is of the old view
			tag := current.Header().Get("ETag")
			if current.Code != http.StatusOK || !strings.Contains(tag, s.viewID(old)) {
				t.Fatalf("%s: %d with tag %s", path, current.Code, tag)
			}
			header.Set("If-None-Match", tag)
			if rec := s.ask(http.MethodGet, path, header); rec.Code != http.StatusNotModified {
				t.Errorf("%s: %d", path, rec.Code)
			}
		}
	}
	if n := s.limits.exports.inUse(); n != 0 || s.views.exports.list[1].readers != 1 {
		t.Errorf("%d slots are in use, the view has %d readers", n, s.views.exports.list[1].readers)
	}
}
