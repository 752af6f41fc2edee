package markdown

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBlocksOfAPage(t *testing.T) {
	got, err := blocksOf("p.md", "# A\n\n```sql\n# no heading\n```\n\n## B: ClickHouse\n\n- item\n\n  ````SQL cluster\n  ```\n    x\n  ````\n\n### C\n## D\n~~~\n```\n~~~\n")
	want := []Block{
		{"p.md", 3, "sql", "", []string{"A"}, "# no heading\n"},
		{"p.md", 11, "sql", "cluster", []string{"A", "B: ClickHouse"}, "```\n  x\n"},
		{"p.md", 18, "", "", []string{"A", "D"}, "```\n"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
	if got[0].ForClickHouse() || !got[1].ForClickHouse() {
		t.Error("the second block is for ClickHouse, and only that")
	}
	if _, err := blocksOf("p.md", "```\nx\n"); err == nil {
		t.Error("no error of a block that never ends")
	}
}
