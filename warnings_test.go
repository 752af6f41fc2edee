package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Whoever finds a warning or an error in a log finds it explained on the page too.
func TestWarningsAreExplained(t *testing.T) {
	explained := explainedLines(t)
	found := 0
	for dir, files := range packages(t) {
		w := warnings{t: t, dir: dir, files: files}
		for _, message := range w.messages() {
			found++
			if !slices.ContainsFunc(explained, func(text string) bool { return strings.HasPrefix(message, text) }) {
				t.Errorf("%s does not explain %q, which %s logs", troubleshooting, message, dir)
			}
		}
	}
	if found < 100 {
		t.Errorf("found %d warnings and errors in the code", found)
	}
}

// packages are the parsed files of the program, without tests, by directory.
func packages(t *testing.T) map[string][]*ast.File {
	t.Helper()
	out := map[string][]*ast.File{}
	set := token.NewFileSet()
	err := filepath.WalkDir("internal", func(path string, _ fs.DirEntry, err error) error {
		dir := filepath.Dir(path)
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(dir, "test") {
			return err
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		out[dir] = append(out[dir], file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// warnings finds what a package logs at the levels WARN and ERROR.
type warnings struct {
	t     *testing.T
	dir   string
	files []*ast.File
}

func (w warnings) messages() (out []string) {
	for _, file := range w.files {
		for _, decl := range file.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(function, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if message := messageOf(call); message != nil {
						out = append(out, w.texts(function, message)...)
					}
				}
				return true
			})
		}
	}
	return out
}

// messageOf is the message of a call that logs a warning or an error, nil of any other.
func messageOf(call *ast.CallExpr) ast.Expr {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	receiver, _ := method.X.(*ast.Ident)
	at := -1
	switch method.Sel.Name {
	case "Warn", "Error":
		if receiver == nil || receiver.Name != "http" { // http.Error
			at = 0
		}
	case "WarnContext", "ErrorContext", "warn": // warn is limitedLog's
		at = 1
	case "Log", "LogAttrs":
		if len(call.Args) > 1 {
			level, constant := call.Args[1].(*ast.SelectorExpr)
			if !constant || level.Sel.Name == "LevelWarn" || level.Sel.Name == "LevelError" {
				at = 2
			}
		}
	}
	if at < 0 || len(call.Args) <= at {
		return nil
	}
	return call.Args[at]
}

// texts are what a message may be, up to the first thing in it that varies: that of a literal, of
// a constant, or of the literals that a function of the package returns. That of a wrapper's
// parameter is where the wrapper is called.
func (w warnings) texts(in *ast.FuncDecl, message ast.Expr) []string {
	switch m := message.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(m.Value); err == nil && m.Kind == token.STRING {
			return []string{text}
		}
	case *ast.BinaryExpr:
		texts := w.texts(in, m.X)
		if rest, ok := m.Y.(*ast.BasicLit); ok && len(texts) == 1 {
			if _, literal := m.X.(*ast.BasicLit); literal { // one text, in two lines
				return []string{texts[0] + w.texts(in, rest)[0]}
			}
		}
		return texts
	case *ast.Ident:
		if in.Name.Name == "warn" {
			return nil
		}
		return w.constant(in, m.Name)
	case *ast.CallExpr:
		switch f := m.Fun.(type) {
		case *ast.Ident:
			return w.returned(in, f.Name)
		case *ast.SelectorExpr:
			return w.returned(in, f.Sel.Name)
		}
	}
	w.t.Errorf("%s: %s logs a warning whose text this test does not understand", w.dir, in.Name.Name)
	return nil
}

func (w warnings) constant(in *ast.FuncDecl, name string) (texts []string) {
	for _, file := range w.files {
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.CONST {
				continue
			}
			for _, spec := range gen.Specs {
				v := spec.(*ast.ValueSpec)
				if i := slices.IndexFunc(v.Names, func(n *ast.Ident) bool { return n.Name == name }); i >= 0 && i < len(v.Values) {
					texts = append(texts, w.texts(in, v.Values[i])...)
				}
			}
		}
	}
	if len(texts) == 0 {
		w.t.Errorf("%s: %s logs %s, of which this test does not know the text", w.dir, in.Name.Name, name)
	}
	return texts
}

func (w warnings) returned(in *ast.FuncDecl, name string) (texts []string) {
	for _, file := range w.files {
		for _, decl := range file.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok || function.Name.Name != name {
				continue
			}
			ast.Inspect(function, func(n ast.Node) bool {
				if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) == 1 {
					texts = append(texts, w.texts(function, r.Results[0])...)
				}
				return true
			})
		}
	}
	if len(texts) == 0 {
		w.t.Errorf("%s: %s logs what %s returns, of which this test does not know the text", w.dir, in.Name.Name, name)
	}
	return texts
}
