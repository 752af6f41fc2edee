package dataset

import (
	"slices"
	"sync"
	"time"
)

// surveyEvery is how long a survey's figures are given again.
const surveyEvery = time.Minute

// TableFigures are what the footers of a table's parts tell.
type TableFigures struct {
	Table             string
	Rows              int64
	Parts, Unreadable int
	// DuplicateKeys counts the event keys that two parts cover.
	DuplicateKeys uint64
}

// Survey counts rows and keys by the parts' footers. It reads each footer once, as a
// part's name never gets other content, but for those that cannot be read; Check reads
// the rows too.
type Survey struct {
	dir string
	now func() time.Time

	mu      sync.Mutex
	at      time.Time
	footers map[string]map[string]footer // by table and file
	last    []TableFigures
}

// NewSurvey is of a data directory, in which a writer may be at work.
func NewSurvey(dataDir string) *Survey {
	return &Survey{dir: dataDir, now: time.Now, footers: map[string]map[string]footer{}}
}

// Tables gives the figures, a minute old at most; the last ones that there are when a
// directory cannot be listed. It may be called by several goroutines. Do not change it.
func (s *Survey) Tables() []TableFigures {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.last != nil && now.Sub(s.at) < surveyEvery {
		return s.last
	}
	s.at = now
	var out []TableFigures
	for _, table := range Tables() {
		t, err := s.table(table)
		if err != nil {
			return s.last
		}
		out = append(out, t)
	}
	s.last = out
	return out
}

func (s *Survey) table(table string) (TableFigures, error) {
	t, known, keys := TableFigures{Table: table}, map[string]footer{}, Coverage{}
	parts, err := openTable(s.dir, table)
	if err != nil || parts == nil {
		return t, err
	}
	defer parts.dir.Close()
	for _, p := range slices.Concat(parts.live, parts.stale) { // others read the stale ones too
		f, ok := s.footers[table][p.file()]
		if !ok {
			if f, err = footerIn(parts, p); err != nil {
				t.Unreadable++
				continue
			}
		}
		known[p.file()] = f
		t.Parts++
		t.Rows += f.rows
		t.DuplicateKeys += keys.overlap(f.keys)
		keys.Merge(f.keys)
	}
	s.footers[table] = known
	return t, nil
}
