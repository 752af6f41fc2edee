package dataset

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
)

var update = flag.Bool("update", false, "write the types into docs/data-dictionary.md")

// The meanings in the dictionary are written by hand; the type of each column, and whether
// it can be null, comes from the schema.
func TestDataDictionaryHasTheTypes(t *testing.T) {
	const path = "../../docs/data-dictionary.md"
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]map[string]string{Nodes: columnTypes(NodeRow{})}
	for _, table := range registry() {
		types[table.name] = columnTypes(table.row)
	}
	want, err := withTypes(string(have), types)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(have), want); d != "" {
		t.Errorf("%s has other types than the schema; run 'make docs' (-have +want):\n%s", path, d)
	}
}

func TestTypesOfTheDictionary(t *testing.T) {
	types := map[string]map[string]string{"t": {"a": "text", "b": "text", "c": "int64", "s.x": "int64"}}
	page := func(rows ...string) string { return "## The table `t.parquet`\n\n" + strings.Join(rows, "\n") + "\n" }
	for have, want := range map[string]string{
		page("| column | meaning |", "|---|---|", "| `a`, `b` | two \\| texts |"):             page("| column | type | meaning |", "|---|---|---|", "| `a`, `b` | text | two \\| texts |"),
		page("| column | type | meaning |", "|---|---|---|", "| `s` {`x`} | text | nested |"): page("| column | type | meaning |", "|---|---|---|", "| `s` {`x`} | int64 | nested |"),
		page("| column | type | meaning |", "|---|---|---|", "| `a` | | new |"):               page("| column | type | meaning |", "|---|---|---|", "| `a` | text | new |"),
		page() + "\n## Footer\n\n| entry | meaning |\n|---|---|\n| `a` | other |\n":           page() + "\n## Footer\n\n| entry | meaning |\n|---|---|\n| `a` | other |\n",
	} {
		got, err := withTypes(have, types)
		if err != nil || got != want {
			t.Errorf("%s\ngives\n%s, %v", have, got, err)
		}
	}
	for _, row := range []string{"| `a`, `c` | mixed |", "| `a` | |", "| `d` | unknown |", "| `a` | text | one | two |", "| `a` | | text | one |", "| `a` | one | two |", "| `a` | text | |", "| `a` | text | open"} {
		if got, err := withTypes(page(row), types); err == nil {
			t.Errorf("%s is accepted: %s", row, got)
		}
	}
}

// withTypes is the page with the types between the names and the meaning in each row of a
// table's section. Columns in one row must have one type.
func withTypes(page string, types map[string]map[string]string) (string, error) {
	heading := regexp.MustCompile("^## .*`(\\w+)\\.parquet`")
	var out strings.Builder
	var table map[string]string
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "## ") {
			table = nil
			if m := heading.FindStringSubmatch(line); m != nil {
				table = types[m[1]]
			}
		}
		if table == nil || !strings.HasPrefix(line, "|") {
			out.WriteString(line)
			continue
		}
		names, meaning, err := rowCells(line)
		if err != nil {
			return "", err
		}
		typ, err := typeCell(names, table)
		if err != nil {
			return "", err
		}
		if typ == "---" {
			out.WriteString("|---|---|---|\n")
			continue
		}
		fmt.Fprintf(&out, "| %s | %s | %s |\n", names, typ, meaning)
	}
	return out.String(), nil
}

var (
	cellText = regexp.MustCompile(`(?:\\\||[^|])*`) // a bar in the text has a backslash before it
	cellType = regexp.MustCompile(`^(type|---|(list of )?(text|u?int(32|64)|boolean|double)( or null)?)?$`)
)

// rowCells are the names and the meaning in a row; the type between them may be missing, or not
// be written yet.
func rowCells(line string) (names, meaning string, err error) {
	row, closed := strings.CutSuffix(strings.TrimSpace(line), "|")
	cells := cellText.FindAllString(strings.TrimPrefix(row, "|"), -1)
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	switch {
	case !closed:
		return "", "", fmt.Errorf("no bar at the end: %s", line)
	case len(cells) != 2 && (len(cells) != 3 || !cellType.MatchString(cells[1])):
		return "", "", fmt.Errorf("want | `column` | | meaning |, with \\| for a bar in the text: %s", line)
	case cells[0] == "" || cells[len(cells)-1] == "":
		return "", "", fmt.Errorf("no column or no meaning: %s", line)
	}
	return cells[0], cells[len(cells)-1], nil
}

// typeCell is the type of the columns that a row names.
func typeCell(names string, table map[string]string) (string, error) {
	switch {
	case names == "---":
		return "---", nil
	case !strings.HasPrefix(names, "`"):
		return "type", nil
	}
	typ := ""
	for _, name := range rowNames(names) {
		switch t, ok := table[name]; {
		case !ok:
			return "", fmt.Errorf("no column %s", name)
		case typ != "" && t != typ:
			return "", fmt.Errorf("%s: %s is %s, those before it %s: split the row", names, name, t, typ)
		default:
			typ = t
		}
	}
	return typ, nil
}

// columnTypes are the types of a table's columns, by the names that dictionary has.
func columnTypes(row Row) map[string]string {
	out := make(map[string]string)
	addTypes(out, parquet.SchemaOf(row).Fields(), "")
	return out
}

func addTypes(out map[string]string, fields []parquet.Field, prefix string) {
	for _, f := range fields {
		list, leaf := "", parquet.Node(f)
		children := f.Fields()
		for len(children) == 1 && (children[0].Name() == "list" || children[0].Name() == "element") {
			list, leaf = "list of ", children[0]
			children = children[0].Fields()
		}
		if len(children) > 0 {
			addTypes(out, children, prefix+f.Name()+".")
			continue
		}
		typ := list + typeName(leaf.Type().String())
		if f.Optional() {
			typ += " or null"
		}
		out[prefix+f.Name()] = typ
	}
}

func typeName(parquetType string) string {
	switch parquetType {
	case "STRING":
		return "text"
	case "INT64", "INT(64,true)":
		return "int64"
	case "INT(64,false)":
		return "uint64"
	case "INT32", "INT(32,true)":
		return "int32"
	case "INT(32,false)":
		return "uint32"
	case "DOUBLE", "BOOLEAN":
		return strings.ToLower(parquetType)
	}
	return parquetType
}
