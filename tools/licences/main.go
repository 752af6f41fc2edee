// Licences checks that every module linked into a program has a licence that is on the list
// below. Run it in the program's directory: go run ./licences from tools, with the directory
// as the argument.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// phrases are in the text of a licence, in one line, and in no other's.
var phrases = []struct {
	licence, phrase string
	permissive      bool
}{
	{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy", true},
	{"Apache-2.0", "apache license version 2.0", true},
	{"Apache-2.0", "licensed under the apache license, version 2.0", true},
	{"Apache-2.0", "apache-2.0 software license", true},
	{"BSD", "redistribution and use in source and binary forms", true},
	{"ISC", "with or without fee is hereby granted", true},
	{"Unlicense", "this is free and unencumbered software", true},
	{"LGPL", "gnu lesser general public license", false},
	{"GPL", "gnu general public license", false},
	{"AGPL", "gnu affero general public license", false},
	{"MPL-2.0", "mozilla public license", false},
	{"BUSL", "business source license", false},
}

// exceptions are modules with a licence that is not permissive, and why they may be linked.
var exceptions = map[string]string{
	"github.com/ethereum/go-ethereum":    "the library packages are LGPL-3.0, linked unchanged from public source",
	"github.com/hashicorp/golang-lru/v2": "MPL-2.0, as below",
	"github.com/libp2p/go-yamux/v5":      "MPL-2.0 asks for the source of changed files, of which there are none",
}

func main() {
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := check(dir); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func check(dir string) error {
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}{{end}}{{end}}", ".")
	list.Dir, list.Stderr = dir, os.Stderr
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	modules := slices.Compact(slices.Sorted(strings.Lines(string(out))))
	counts := map[string]int{}
	bad := 0
	for _, line := range modules {
		path, moduleDir, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok {
			continue
		}
		names, permissive, err := licencesOf(moduleDir)
		if err != nil {
			return err
		}
		if !permissive && exceptions[path] == "" {
			fmt.Printf("%s: %s\n", path, names)
			bad++
		}
		counts[names]++
	}
	if bad > 0 {
		return fmt.Errorf("%d modules have no licence of the list: replace them, or add an exception with its reason", bad)
	}
	fmt.Println("licences:", counts)
	return nil
}

// licencesOf names the licences of a module's files; permissive when it has one, and none
// that is not.
func licencesOf(dir string) (names string, permissive bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", false, err
	}
	found, other := []string{}, false
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "licen") && !strings.HasPrefix(name, "copying") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", false, err
		}
		words := string(bytes.ToLower(bytes.Join(bytes.Fields(text), []byte(" "))))
		// The terms themselves come first; a licence may name another one further down.
		for _, p := range phrases {
			at := strings.Index(words, p.phrase)
			if at < 0 || !p.permissive && at > 200 {
				continue
			}
			found = append(found, p.licence)
			permissive = permissive || p.permissive
			other = other || !p.permissive
		}
	}
	if len(found) == 0 {
		return "no licence that is known", false, nil
	}
	slices.Sort(found)
	return strings.Join(slices.Compact(found), " and "), permissive && !other, nil
}
