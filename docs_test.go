package main

import (
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// pages are the Markdown pages of the repository by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	add := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = string(text)
	}
	for _, path := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"} {
		add(path)
	}
	err := filepath.WalkDir("docs", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			add(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Every link to a file or a section of the repository leads there.
func TestLinksOfThePages(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]*)\)`)
	for path, text := range everyPage(t) {
		for _, m := range link.FindAllStringSubmatch(withoutCode(text), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, section, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			linked, err := os.Stat(target)
			if err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
				continue
			}
			if section != "" && (linked.IsDir() || filepath.Ext(target) != ".md" || !slices.Contains(sections(t, target), section)) {
				t.Errorf("%s links to %s: there is no such section", path, m[1])
			}
		}
	}
}

// everyPage is every Markdown file of the repository by path, those of other projects left out.
func everyPage(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", "bin", "data", "dist", "node_modules"}, entry.Name()):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		out[path] = read(t, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var fence = regexp.MustCompile("(?ms)^```.*?^```$")

func withoutCode(text string) string { return fence.ReplaceAllString(text, "") }

// sections are the names by which GitHub links to the headings of a page.
func sections(t *testing.T, path string) (names []string) {
	t.Helper()
	times := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(withoutCode(read(t, path)), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsNumber(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, m[1])
		times[name]++
		if n := times[name]; n > 1 {
			name += "-" + strconv.Itoa(n-1)
		}
		names = append(names, name)
	}
	return names
}

// A sentence has no words twice in a row, as a careless replacement leaves them; the generated pages
// have the texts of the commands, metrics and log lines.
func TestNoWordsTwiceInARow(t *testing.T) {
	words := regexp.MustCompile(`[a-z-]{2,}( [a-z-]+)+`)
	for path, text := range pages(t) {
		for _, run := range words.FindAllString(withoutCode(text), -1) {
			list := strings.Split(run, " ")
			for i := range list {
				for n := 1; i+2*n <= len(list); n++ {
					if slices.Equal(list[i:i+n], list[i+n:i+2*n]) {
						t.Errorf("%s: %q twice in %q", path, strings.Join(list[i:i+n], " "), run)
					}
				}
			}
		}
	}
}

// A page that the table of contents does not have is not found.
func TestEveryPageIsInTheContents(t *testing.T) {
	contents := pages(t)["docs/README.md"]
	for path := range pages(t) {
		name, ok := strings.CutPrefix(path, "docs/")
		if !ok {
			name = "../" + path
		}
		if path == "README.md" || name == "README.md" || strings.HasPrefix(name, "adr/") {
			continue
		}
		if !strings.Contains(contents, "]("+name+")") {
			t.Errorf("docs/README.md does not have %s", path)
		}
	}
}

// Alerts are copied from the pages: a metric that was renamed would never fire.
func TestMetricsOfThePagesExist(t *testing.T) {
	all := pages(t)
	metric := regexp.MustCompile(`valtrack_[a-z_]+[a-z]`)
	for path, text := range all {
		for _, name := range metric.FindAllString(text, -1) {
			if !strings.Contains(all["docs/metrics.md"], "`"+name+"`") {
				t.Errorf("%s names %s, which is not in docs/metrics.md", path, name)
			}
		}
	}
}

// goFiles is the text of the Go files under internal, client and test whose names end so.
func goFiles(t *testing.T, ending string) string {
	t.Helper()
	var code strings.Builder
	for _, dir := range []string{"internal", "client", "test"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ending) {
				text, readErr := os.ReadFile(path)
				code.Write(text)
				err = readErr
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return code.String()
}

func TestRecipesNameExistingFilesAndTests(t *testing.T) {
	text := pages(t)["CONTRIBUTING.md"]
	path := regexp.MustCompile("`((?:client|contrib|docs|internal|test|web)/[a-z0-9_/.-]+\\.(?:css|go|json|md|mjs|py|tsx?|txtar|ya?ml))`")
	for _, m := range path.FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("CONTRIBUTING.md names %s: %v", m[1], err)
		}
	}
	tests := goFiles(t, "_test.go")
	root, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range root {
		tests += read(t, file)
	}
	for _, name := range regexp.MustCompile(`Test[A-Z]\w+`).FindAllString(text, -1) {
		if !strings.Contains(tests, "func "+name+"(") {
			t.Errorf("CONTRIBUTING.md names %s, which does not exist", name)
		}
	}
}

const troubleshooting = "docs/troubleshooting.md"

// explainedLines are the log lines that the page explains, without what varies at their end.
func explainedLines(t *testing.T) (lines []string) {
	t.Helper()
	quoted := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(pages(t)[troubleshooting]) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(strings.SplitN(line, "|", 3)[1], -1) {
			text, _, _ := strings.Cut(m[1], " reason=")
			text, _, _ = strings.Cut(text, "...")
			lines = append(lines, strings.TrimRight(text, " "))
		}
	}
	return lines
}

// Operators search the page for a line of their log.
func TestLogLinesOfThePageExist(t *testing.T) {
	code := goFiles(t, ".go")
	for _, text := range explainedLines(t) {
		if !strings.Contains(code, text) {
			t.Errorf("%s explains the log line %q, which nothing logs", troubleshooting, text)
		}
	}
}

// The limits of docs/security.md are in the code, and tests hold them.
func TestLimitsOfThePage(t *testing.T) {
	_, table, ok := strings.Cut(pages(t)["docs/security.md"], "\n## Limits\n")
	table, _, _ = strings.Cut(table, "\n## ")
	tests := goFiles(t, "_test.go")
	quoted := regexp.MustCompile("`([^`]+)`")
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || !strings.Contains(cells[4], "`") {
			continue
		}
		rows++
		for _, m := range quoted.FindAllStringSubmatch(cells[4], -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s: %v", strings.TrimSpace(cells[1]), err)
			}
		}
		checkSizes(t, cells)
		names := quoted.FindAllStringSubmatch(cells[5], -1)
		if len(names) == 0 {
			t.Errorf("%s: no test", strings.TrimSpace(cells[1]))
		}
		for _, m := range names {
			if !strings.Contains(tests, "func "+m[1]+"(") {
				t.Errorf("%s: the test %s does not exist", strings.TrimSpace(cells[1]), m[1])
			}
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[3], -1) {
			if flag := strings.TrimPrefix(m[1], "--"); !strings.Contains(goFiles(t, ".go"), `"`+flag+`"`) {
				t.Errorf("%s: there is no flag %s", strings.TrimSpace(cells[1]), m[1])
			}
			checkDefault(t, cells, m[1])
		}
	}
	if !ok || rows < 20 {
		t.Errorf("%d limits", rows)
	}
}

// checkDefault: a limit that begins with a number has the default of its flag.
func checkDefault(t *testing.T, cells []string, flag string) {
	t.Helper()
	number := regexp.MustCompile(`^(\d[\d,]*)(?: ([KMG]iB))?(?:$|,| per second)`)
	limit := number.FindStringSubmatch(strings.TrimSpace(cells[2]))
	entry := regexp.MustCompile("`" + flag + " [a-z]+`.*\\(default: \"?([1-9][0-9]*)(?: ?([KMG]iB))?\"?\\)").FindStringSubmatch(pages(t)["docs/commands.md"])
	if limit == nil || entry == nil {
		return
	}
	if strings.ReplaceAll(limit[1], ",", "") != entry[1] || limit[2] != entry[2] {
		t.Errorf("%s: %s, but the default of %s is %s %s", strings.TrimSpace(cells[1]), limit[0], flag, entry[1], entry[2])
	}
}

// checkSizes: each size in a limit is one that its places have, as in 128 << 10, and each power of
// two and each number of four digits or more without a unit, as in 1 << 20, 4096 and 100_000.
func checkSizes(t *testing.T, cells []string) {
	t.Helper()
	var code strings.Builder
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[4], -1) {
		text, err := os.ReadFile(m[1])
		if err != nil {
			t.Fatal(err)
		}
		code.WriteString(strings.ReplaceAll(string(text), " ", ""))
	}
	for _, m := range regexp.MustCompile(`(\d+) ([KMG])iB`).FindAllStringSubmatch(cells[2], -1) {
		shift := map[string]string{"K": "10", "M": "20", "G": "30"}[m[2]]
		if !regexp.MustCompile(`\b` + m[1] + "<<" + shift + `\b`).MatchString(code.String()) {
			t.Errorf("%s: %s is not in %s", strings.TrimSpace(cells[1]), m[0], cells[4])
		}
	}
	if strings.TrimSpace(cells[3]) != "" {
		return // the flag has the default
	}
	for _, m := range regexp.MustCompile(`2\^(\d+)|(\d[\d,]{3,})(?: bytes)?`).FindAllStringSubmatch(cells[2], -1) {
		want := "1<<" + m[1]
		if m[1] == "" {
			n, _ := strconv.Atoi(strings.ReplaceAll(m[2], ",", ""))
			want = fmt.Sprintf("(?:%d|%s", n, strings.ReplaceAll(m[2], ",", "_"))
			if n&(n-1) == 0 {
				want += fmt.Sprintf("|1<<%d", bits.Len(uint(n))-1)
			}
			want += ")"
		}
		if !regexp.MustCompile(`\b` + want + `\b`).MatchString(code.String()) {
			t.Errorf("%s: %s is not in %s", strings.TrimSpace(cells[1]), m[0], cells[4])
		}
	}
}
