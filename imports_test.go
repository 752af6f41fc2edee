package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/chainbound/valtrack"
	// allRooms in a row's column of rooms allows those of all lower layers.
	allRooms = "all"
	// standardLibrary in a row's column of libraries allows no other library.
	standardLibrary = "std"
	// sharedLayers are the lowest layers, whose rooms every higher one may import.
	sharedLayers = 2
)

// row is a line of the table in docs/architecture.md, which is the only place where
// the import rules are written down.
type row struct {
	layer     int
	rooms     []string // which the room may import from the layers above the shared ones
	libraries []string // prefixes of import paths, without github.com/, that only rows which name them may import
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Doc        string
}

// readRooms reads the table: | layer | `room` | text | rooms | libraries |. Rooms are
// named by their path below internal/; main.go is the command, named "".
func readRooms(t *testing.T) map[string]row {
	t.Helper()
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	names := func(cell string) (out []string) {
		for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
			out = append(out, m[1])
		}
		return out
	}
	rooms := map[string]row{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 2 {
			continue
		}
		layer, err := strconv.Atoi(strings.TrimSpace(cells[1]))
		if err != nil {
			continue // prose, the heading, or another table
		}
		if len(cells) != 7 || len(names(cells[2])) != 1 {
			t.Fatalf("want | layer | `room` | text | rooms | libraries |, got %s", line)
		}
		room := strings.TrimPrefix(names(cells[2])[0], "main.go")
		if _, known := rooms[room]; known {
			t.Errorf("`%s` has two rows", room)
		}
		rooms[room] = row{layer, names(cells[4]), names(cells[5])}
	}
	return rooms
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

// roomOf is the name of a package's row; ok is false outside the module, and for the
// tests of the whole, which may import everything.
func roomOf(importPath string) (room string, ok bool) {
	rest, ok := strings.CutPrefix(importPath, module)
	if !ok || strings.HasPrefix(rest, "/test/") {
		return "", false
	}
	return strings.TrimPrefix(strings.TrimPrefix(rest, "/"), "internal/"), true
}

func TestImportRules(t *testing.T) {
	rooms := readRooms(t)
	for _, p := range listPackages(t) {
		room, ok := roomOf(p.ImportPath)
		if !ok {
			continue
		}
		self, known := rooms[room]
		if !known {
			continue // TestArchitectureNamesEveryRoom reports it
		}
		for _, imp := range p.Imports {
			if dep, ok := roomOf(imp); ok {
				if !self.mayImport(dep, rooms[dep]) {
					t.Errorf("%s must not import %s", room, dep)
				}
				continue
			}
			if owners := ownersOf(rooms, imp); owners != nil && !slices.Contains(owners, room) {
				t.Errorf("%s must not import %s: only %v may", room, imp, owners)
			}
			if host, _, _ := strings.Cut(imp, "/"); slices.Contains(self.libraries, standardLibrary) && strings.Contains(host, ".") {
				t.Errorf("%s must not import %s: standard library only", room, imp)
			}
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", room)
		}
	}
}

func (r row) mayImport(name string, dep row) bool {
	allowed := dep.layer <= sharedLayers || slices.Contains(r.rooms, allRooms) || slices.Contains(r.rooms, name)
	return dep.layer < r.layer && allowed
}

// ownersOf names the rooms that may import a package; nil when all may.
func ownersOf(rooms map[string]row, importPath string) (owners []string) {
	importPath = strings.TrimPrefix(importPath, "github.com/")
	for name, r := range rooms {
		if slices.ContainsFunc(r.libraries, func(prefix string) bool { return strings.HasPrefix(importPath, prefix) }) {
			owners = append(owners, name)
		}
	}
	slices.Sort(owners)
	return owners
}

func TestArchitectureNamesEveryRoom(t *testing.T) {
	rooms := readRooms(t)
	exist := map[string]bool{}
	for _, p := range listPackages(t) {
		room, ok := roomOf(p.ImportPath)
		if !ok {
			continue
		}
		exist[room] = true
		if _, known := rooms[room]; !known {
			t.Errorf("the table of rooms in docs/architecture.md has no row for %q", room)
		}
	}
	for room, r := range rooms {
		if !exist[room] {
			t.Errorf("docs/architecture.md has a row for %q, which does not exist", room)
		}
		for _, dep := range r.rooms {
			if d, known := rooms[dep]; dep != allRooms && (!known || d.layer >= r.layer) {
				t.Errorf("the row of %q allows %q, which is not a room of a lower layer", room, dep)
			}
		}
	}
}
