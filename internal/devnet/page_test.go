package devnet

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The page for users says what each persona does.
func TestPersonasOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/design/devnet.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Personas\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var found []Persona
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| .").FindAllStringSubmatch(section, -1) {
		found = append(found, Persona(m[1]))
	}
	all := append(Personas(), HostilePersonas()...)
	slices.Sort(found)
	slices.Sort(all)
	if d := cmp.Diff(all, found); d != "" {
		t.Errorf("personas (-code +page):\n%s", d)
	}
}
