package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/chainbound/valtrack"

// layers, lowest first; a room may import rooms of lower layers only. The table
// in docs/architecture.md says the same in words.
var layers = [][]string{
	{"internal/eth2", "internal/udp", "internal/crashpoint", "internal/diskio", "internal/loglimit", "internal/telemetry"},
	{"internal/eth2/enr", "internal/event"},
	{"internal/eth2/network", "internal/event/eventtest"},
	{"internal/discv5", "internal/p2p", "internal/spool", "internal/eventlog", "internal/bus", "internal/dataset", "internal/estimate", "internal/beaconapi"},
	{"internal/tracker"},
	{"internal/sentry", "internal/consumer", "internal/report", "internal/devnet"},
	{"internal/app"},
	{"internal/cli"},
	{""},
}

// except lists the rooms of the same or a lower layer that a room must not know.
var except = map[string][]string{
	"internal/sentry":   {"internal/discv5", "internal/bus", "internal/spool", "internal/eventlog", "internal/dataset", "internal/beaconapi", "internal/tracker"},
	"internal/consumer": {"internal/discv5", "internal/p2p", "internal/spool", "internal/beaconapi"},
	"internal/tracker":  {"internal/discv5", "internal/p2p", "internal/bus", "internal/spool", "internal/eventlog", "internal/dataset", "internal/beaconapi", "internal/eth2/network"},
	"internal/report":   {"internal/discv5", "internal/p2p", "internal/bus", "internal/spool", "internal/eventlog", "internal/beaconapi"},
	"internal/devnet":   {"internal/discv5", "internal/bus", "internal/spool", "internal/eventlog", "internal/dataset", "internal/tracker", "internal/beaconapi"},
}

// owners names the rooms that may import a library; every other room may not.
var owners = map[string][]string{
	"github.com/ethereum/go-ethereum": {"internal/discv5", "internal/eth2/enr", "internal/devnet"},
	"github.com/libp2p/":              {"internal/p2p", "internal/devnet"},
	"github.com/nats-io/":             {"internal/bus"},
	"github.com/parquet-go/":          {"internal/dataset"},
	"github.com/urfave/cli":           {"internal/cli"},
	"database/sql":                    {"internal/sentry", "internal/tracker"},
	"modernc.org/sqlite":              {"internal/sentry", "internal/tracker"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Doc        string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Doc", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

func layerOf(room string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, room) })
}

func TestImportRules(t *testing.T) {
	for _, p := range listPackages(t) {
		room := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if strings.HasPrefix(room, "test/") {
			continue // tests of the whole may know everything
		}
		layer := layerOf(room)
		if layer < 0 {
			t.Errorf("%s has no layer: add it here and to docs/architecture.md", room)
			continue
		}
		for _, imp := range p.Imports {
			if dep, ok := strings.CutPrefix(imp, module+"/"); ok {
				if layerOf(dep) >= layer || slices.Contains(except[room], dep) {
					t.Errorf("%s must not import %s", room, dep)
				}
				continue
			}
			for lib, rooms := range owners {
				if strings.HasPrefix(imp, lib) && !slices.Contains(rooms, room) {
					t.Errorf("%s must not import %s: that is for %v", room, imp, rooms)
				}
			}
			if room == "internal/eth2" && strings.Contains(imp, ".") {
				t.Errorf("%s must not import %s: standard library only", room, imp)
			}
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", room)
		}
	}
}

// The rules above are only as good as the architecture page that explains them.
func TestArchitectureNamesEveryRoom(t *testing.T) {
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		for _, room := range layer {
			if room != "" && !strings.Contains(string(page), "`"+room+"`") {
				t.Errorf("docs/architecture.md does not name `%s`", room)
			}
		}
	}
}
