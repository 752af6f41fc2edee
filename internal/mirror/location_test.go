package mirror

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/mirror/mirrortest"
)

func TestParseLocation(t *testing.T) {
	for text, want := range map[string]Location{
		"s3://bucket":                       {awsEndpoint, true, "bucket", ""},
		"s3://bucket/a/b/":                  {awsEndpoint, true, "bucket", "a/b/"},
		"https://minio.example:9000/bucket": {"minio.example:9000", true, "bucket", ""},
		"http://127.0.0.1:9000/bucket/a":    {"127.0.0.1:9000", false, "bucket", "a/"},
	} {
		got, err := ParseLocation(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		again, err := ParseLocation(got.String())
		if err != nil || again != got {
			t.Errorf("%s: written as %s, which is %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{
		"", "bucket", "s3://", "s3:///a", "https://host", "https://host/", "https:///bucket", "ftp://host/bucket", "s3://bucket/a?x=1", "s3://bucket/../a", "s3://bucket/a//b",
		"https://me:geheim@host/bucket", "s3://me@bucket/", "https://me:geheim@ho st/bucket", "s3://bucket/a#b",
	} {
		if got, err := ParseLocation(text); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Setenv("AWS_PROFILE", "")
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if _, err := Credentials(""); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("half of the credentials: %v", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "geheim")
	file := filepath.Join(t.TempDir(), "credentials")
	for content, want := range map[string]string{
		"[default]\naws_access_key_id = f\naws_secret_access_key = geheim\n": "f",
		"[default]\naws_access_key_id = f\n":                                 "",
		"[other]\naws_secret_access_key = geheim\n":                          "",
		"geheim": "",
		"":       "",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Credentials(file)
		if (err == nil) != (want != "") || err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v", content, err)
		}
		if err == nil {
			if v, err := got.GetWithContext(nil); err != nil || v.AccessKeyID != want {
				t.Errorf("%q: %q, %v", content, v.AccessKeyID, err)
			}
		}
	}
	got, err := Credentials("")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := got.GetWithContext(nil); err != nil || v.AccessKeyID != "a" {
		t.Errorf("of the environment: %q, %v", v.AccessKeyID, err)
	}
}

// A store that refuses the credentials, or has no such bucket, needs somebody to do something.
func TestRefusedByTheStore(t *testing.T) {
	w := newWorld(t)
	w.cfg.Location.bucket = "other"
	if err := w.mirror().Round(t.Context()); !Refused(err) || !strings.Contains(err.Error(), "bucket other does not exist") {
		t.Errorf("no bucket: %v", err)
	}
	if os.Getenv(mirrortest.SeaweedFS) == "" {
		t.Skip("gofakes3 takes any credentials")
	}
	w = newWorld(t)
	t.Setenv("AWS_ACCESS_KEY_ID", mirrortest.Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	var err error
	if w.cfg.Credentials, err = Credentials(""); err != nil {
		t.Fatal(err)
	}
	if err := w.mirror().Round(t.Context()); !Refused(err) || !strings.Contains(err.Error(), "refuses these credentials") {
		t.Errorf("wrong credentials: %v", err)
	}
}

// validManifest is one that a Mirror may have written.
func validManifest() *Manifest {
	sum := strings.Repeat("ab", 32)
	m := &Manifest{Version: 1, Generation: 3, Writer: "w", Network: "hoodi", Known: Object{"known/1.json", sum, 2}, Replaced: []Replaced{{"old", 1}}}
	for _, table := range dataset.Tables() {
		p := dataset.Part{Table: table, File: "part-00000001.parquet", First: 1, Last: 1, Bytes: 5}
		m.Parts = append(m.Parts, Entry{p, Object{table + ".parquet/x", sum, 5}})
	}
	return m
}

func TestManifestThatNobodyWrote(t *testing.T) {
	for name, change := range map[string]func(*Manifest){
		"later version":     func(m *Manifest) { m.Version = 2 },
		"no generation":     func(m *Manifest) { m.Generation = 0 },
		"no network":        func(m *Manifest) { m.Network = "" },
		"path outside":      func(m *Manifest) { m.Parts[0].Name = "../x" },
		"file outside":      func(m *Manifest) { m.Parts[0].File = "../part-00000001.parquet" },
		"unknown table":     func(m *Manifest) { m.Parts[0].Table = "../../etc" },
		"no hash":           func(m *Manifest) { m.Parts[0].SHA256 = "ab" },
		"two sizes":         func(m *Manifest) { m.Parts[0].Object.Bytes = 4 },
		"negative size":     func(m *Manifest) { m.Known.Bytes = -1 },
		"no room in memory": func(m *Manifest) { m.Known.Bytes = maxManifest + 1 },
		"a part twice":      func(m *Manifest) { m.Parts = append(m.Parts, m.Parts[0]) },
		"deletes elsewhere": func(m *Manifest) { m.Replaced[0].Name = "../other/manifest.json" },
	} {
		m := validManifest()
		if err := m.check(); err != nil {
			t.Fatal(err)
		}
		change(m)
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeManifest(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// What a manifest says is either refused, or safe to follow.
func FuzzManifest(f *testing.F) {
	text, err := json.Marshal(validManifest())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(bytes.Replace(text, []byte(`"first_segment":1`), []byte(`"first_segment":2`), 1))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decodeManifest(text)
		if err != nil {
			return
		}
		if err := m.check(); err != nil {
			t.Fatal(err)
		}
		for _, e := range m.Parts {
			if !filepath.IsLocal(e.Name) || filepath.Base(e.File) != e.File || len(e.sum()) != 32 {
				t.Fatalf("entry %+v", e)
			}
		}
		next := planRound(m, &dataset.Snapshot{}, 0, time.Now())
		next.finish()
		if len(next.next.Parts) != len(m.Parts) {
			t.Fatal("parts are lost in a round without datasets")
		}
	})
}
