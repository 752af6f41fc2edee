package cli

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/chainbound/valtrack/internal/eth2/network"
)

// Whoever adds a network has to add it to the pages that list them, and only there: the
// help is made from the list.
func TestNetworksOfThePages(t *testing.T) {
	word := regexp.MustCompile(`[a-z]+`)
	for page, list := range map[string]string{
		"../../README.md":             `--network ([a-z, ]+)\n`,
		"../../CHANGELOG.md":          `- Networks ([a-z, ]+);`,
		"../../docs/design/visits.md": "`internal/eth2/network/networks/` holds ([a-z, ]+) in the layout",
	} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(list).FindSubmatch(text)
		if found == nil {
			t.Errorf("%s lists no networks: %s", page, list)
			continue
		}
		names := append(word.FindAllString(string(found[1]), -1), defaultNetwork)
		names = slices.DeleteFunc(names, func(s string) bool { return s == "and" || s == "or" })
		slices.Sort(names)
		if names = slices.Compact(names); !slices.Equal(names, network.Names()) {
			t.Errorf("%s lists %v, the networks are %v", page, names, network.Names())
		}
	}
}
