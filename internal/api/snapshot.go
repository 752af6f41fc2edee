package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/buildinfo"
)

// snapshotEvery is how long a snapshot is given out before there is a new one.
const snapshotEvery = time.Hour

// snapshots keeps the newest snapshot.
type snapshots struct {
	mu     sync.Mutex
	made   time.Time
	name   string
	body   []byte
	digest [sha256.Size]byte
}

// getSnapshot answers with everything that the public sees, as one file.
func getSnapshot(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	snap := &s.snapshot
	snap.mu.Lock()
	defer snap.mu.Unlock()
	if time.Since(snap.made) > snapshotEvery {
		snap.make(r.view)
	}
	name, body, digest := snap.name, snap.body, base64.StdEncoding.EncodeToString(snap.digest[:])
	return answer{serve: func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", typeGzip)
		h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
		h.Set("Digest", "sha-256="+digest)
		h.Set("ETag", `"`+digest+`"`)
		h.Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}}, nil
}

// make compresses the public answers for a view into one JSON object.
func (s *snapshots) make(v *view) {
	var buffer bytes.Buffer
	out := gzip.NewWriter(&buffer)
	put := func(parts ...[]byte) {
		for _, p := range parts {
			out.Write(p) //nolint:errcheck // a buffer takes everything
		}
	}
	m := v.meta(true)
	m.AgeMS = nil // of when it was made: it does not change
	put([]byte(`{"program":`), marshal(buildinfo.Read().String()), []byte(`,"meta":`), marshal(m), []byte(`,"summary":`), v.summary, []byte(`,"forks":`), marshal(v.forks))
	for _, by := range []string{byCountry, byCityPublic, byNetwork, byHosting, byCloud, byClient, byRelease, byOS, byArch} {
		name := by
		if by == byCityPublic {
			name = byCity
		}
		put([]byte(`,"by_`+name+`":`), marshal(v.groups[by]))
	}
	put([]byte(`,"timeseries":`), marshal(v.series(time.Hour.Milliseconds(), 0, time.Now().UnixMilli())), []byte(`,"nodes":[`))
	l := listing{columns: columnsFor(false)}
	var row []byte
	for i := range v.nodes {
		row = row[:0]
		if i > 0 {
			row = append(row, ',')
		}
		row = l.appendRow(row, &v.nodes[i])
		put(row)
	}
	put([]byte("]}\n"))
	out.Close()
	now := time.Now()
	s.made, s.body, s.digest = now, buffer.Bytes(), sha256.Sum256(buffer.Bytes())
	s.name = "valtrack-" + fileWord(v.src.Network) + "-" + now.UTC().Format("20060102T150405Z") + ".json.gz"
}

// fileWord is a text without what is not fit for a file name.
func fileWord(s string) string {
	out := []byte{}
	for i := range len(s) {
		if c := s[i]; c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			out = append(out, c)
		}
	}
	return string(out)
}
