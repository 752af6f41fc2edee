package api

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The lines with curl that the quick start shows work as they are typed.
func TestQuickStartShowsRequestsThatWork(t *testing.T) {
	text, err := os.ReadFile("../../docs/quick-start.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^curl .*$`).FindAllString(string(text), -1)
	if len(lines) < 3 {
		t.Fatalf("quick-start.md has %d lines with curl", len(lines))
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	_, addr := listening(t, Config{})
	dir := t.TempDir()
	for _, line := range lines {
		shown := strings.ReplaceAll(line, "http://127.0.0.1:8080/", "http://"+addr+"/")
		if shown == line {
			t.Errorf("%s: not at the address that a run serves by default", line)
			continue
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(shown, "curl ", "curl --fail --noproxy '*' ", 1))
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if _, file, redirected := strings.Cut(line, "> "); redirected {
			if out, err = os.ReadFile(filepath.Join(dir, file)); err != nil {
				t.Error(err)
			}
		}
		want := `{"data":`
		if strings.Contains(line, "format=csv") {
			want = "id,node_id,client"
		}
		if !bytes.HasPrefix(out, []byte(want)) {
			t.Errorf("%s: %.200s", line, out)
		}
	}
}
