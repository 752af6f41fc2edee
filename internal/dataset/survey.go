package dataset

import (
	"slices"
	"sync"
	"time"
)

// surveyEvery is how long a survey's figures are reused.
const surveyEvery = time.Minute

// TableFigures are the figures in the footers of a table's parts.
type TableFigures struct {
	Table             string
	Rows              int64
	Parts, Unreadable int
	// DuplicateKeys counts the event keys that two parts cover.
	DuplicateKeys uint64
	// SetAside counts the damaged parts that were moved out of the table.
	SetAside int
}

// Survey counts rows and keys by the parts' footers. It reads the footer of each file
// once, except those that cannot be read; Check reads the rows too.
type Survey struct {
	dir string
	now func() time.Time

	mu    sync.Mutex
	at    time.Time
	files map[string]map[string]surveyed // by table and name
	last  []TableFigures
}

// surveyed is a part's footer, and what distinguishes its file from another of that
// name: after a commit that failed in its last step the next one has its number.
type surveyed struct {
	footer
	size int64
	at   time.Time
}

// NewSurvey surveys a data directory, to which a writer may be writing.
func NewSurvey(dataDir string) *Survey {
	return &Survey{dir: dataDir, now: time.Now, files: map[string]map[string]surveyed{}}
}

// Tables returns the figures, at most a minute old; the last known ones when a
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
	for _, table := range registry() {
		t, err := s.table(table)
		if err != nil {
			return s.last
		}
		out = append(out, t)
	}
	s.last = out
	return out
}

func (s *Survey) table(table table) (TableFigures, error) {
	t, known, keys := TableFigures{Table: table.name}, map[string]surveyed{}, Coverage{}
	aside, err := setAsideFiles(s.dir, table.name)
	if err != nil {
		return t, err
	}
	t.SetAside = len(aside)
	parts, err := openTable(s.dir, table.name)
	if err != nil || parts == nil {
		return t, err
	}
	defer parts.dir.Close()
	for _, p := range slices.Concat(parts.live, parts.stale) { // others read the stale ones too
		f, err := s.part(table, parts, p, s.files[table.name][p.file()])
		if err != nil {
			t.Unreadable++
			continue
		}
		known[p.file()] = f
		t.Parts++
		t.Rows += f.rows
		t.DuplicateKeys += keys.overlap(f.keys)
		keys.Merge(f.keys)
	}
	s.files[table.name] = known
	return t, nil
}

// part is what was known, if the file is still the same.
func (s *Survey) part(table table, parts *tableParts, p span, known surveyed) (surveyed, error) {
	file, err := parts.open(p)
	if err != nil {
		return surveyed{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || known.size == info.Size() && known.at.Equal(info.ModTime()) {
		return known, err
	}
	f, err := table.footerOf(file)
	return surveyed{f, info.Size(), info.ModTime()}, err
}
