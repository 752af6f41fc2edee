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
	// allPackages in a row's column of packages allows those of all lower layers.
	allPackages = "all"
	// standardLibrary in a row's column of libraries allows no other library.
	standardLibrary = "std"
	// sharedLayers are the lowest layers, whose packages every higher one may import.
	sharedLayers = 2
)

// row is a line of the table in docs/architecture.md, which is the only place where
// the import rules are written down.
type row struct {
	layer     int
	packages  []string // which the package may import from the layers above the shared ones
	libraries []string // prefixes of import paths, without github.com/, that only rows which name them may import
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Doc        string
}

// readPackages reads the table: | layer | `name` | text | packages | libraries |. Packages are
// named by their path below internal/; main.go is the command, named "".
func readPackages(t *testing.T) map[string]row {
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
	packages := map[string]row{}
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
			t.Fatalf("want | layer | `name` | text | packages | libraries |, got %s", line)
		}
		name := strings.TrimPrefix(names(cells[2])[0], "main.go")
		if _, known := packages[name]; known {
			t.Errorf("`%s` has two rows", name)
		}
		packages[name] = row{layer, names(cells[4]), names(cells[5])}
	}
	return packages
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

// packageOf is the name of a package's row; ok is false outside the module, and for the
// tests of the whole, which may import everything.
func packageOf(importPath string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(importPath, module)
	if !ok || strings.HasPrefix(rest, "/test/") {
		return "", false
	}
	return strings.TrimPrefix(strings.TrimPrefix(rest, "/"), "internal/"), true
}

func TestImportRules(t *testing.T) {
	packages := readPackages(t)
	for _, p := range listPackages(t) {
		name, ok := packageOf(p.ImportPath)
		if !ok {
			continue
		}
		self, known := packages[name]
		if !known {
			continue // TestArchitectureNamesEveryPackage reports it
		}
		for _, imp := range p.Imports {
			if dep, ok := packageOf(imp); ok {
				if !self.mayImport(dep, packages[dep]) {
					t.Errorf("%s must not import %s", name, dep)
				}
				continue
			}
			if owners := ownersOf(packages, imp); owners != nil && !slices.Contains(owners, name) {
				t.Errorf("%s must not import %s: only %v may", name, imp, owners)
			}
			if host, _, _ := strings.Cut(imp, "/"); slices.Contains(self.libraries, standardLibrary) && strings.Contains(host, ".") {
				t.Errorf("%s must not import %s: standard library only", name, imp)
			}
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", name)
		}
	}
}

func (r row) mayImport(name string, dep row) bool {
	allowed := dep.layer <= sharedLayers || slices.Contains(r.packages, allPackages) || slices.Contains(r.packages, name)
	return dep.layer < r.layer && allowed
}

// ownersOf names the packages that may import a package; nil when all may.
func ownersOf(packages map[string]row, importPath string) (owners []string) {
	importPath = strings.TrimPrefix(importPath, "github.com/")
	for name, r := range packages {
		if slices.ContainsFunc(r.libraries, func(prefix string) bool { return strings.HasPrefix(importPath, prefix) }) {
			owners = append(owners, name)
		}
	}
	slices.Sort(owners)
	return owners
}

func TestArchitectureNamesEveryPackage(t *testing.T) {
	packages := readPackages(t)
	exist := map[string]bool{}
	for _, p := range listPackages(t) {
		name, ok := packageOf(p.ImportPath)
		if !ok {
			continue
		}
		exist[name] = true
		if _, known := packages[name]; !known {
			t.Errorf("the table of packages in docs/architecture.md has no row for %q", name)
		}
	}
	for name, r := range packages {
		if !exist[name] {
			t.Errorf("docs/architecture.md has a row for %q, which does not exist", name)
		}
		for _, dep := range r.packages {
			if d, known := packages[dep]; dep != allPackages && (!known || d.layer >= r.layer) {
				t.Errorf("the row of %q allows %q, which is not a package of a lower layer", name, dep)
			}
		}
	}
}
