package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// tracedCalls are those that change files, or tell the broker what is stored.
const tracedCalls = "openat,write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,truncate,link,linkat,symlinkat,close"

// inode is a file or directory. What is synced survives a power cut.
type inode struct {
	dir            bool
	data, synced   []byte
	names, durable map[string]*inode
}

func newDir() *inode {
	return &inode{dir: true, names: map[string]*inode{}, durable: map[string]*inode{}}
}

// change is one change of directories, which an fsync of any of them makes durable.
type change struct {
	dirs []*inode
	make func(of func(*inode) map[string]*inode)
}

// traced is a model of the disk of a traced process, below root.
type traced struct {
	root    string
	tree    *inode
	open    map[int]*handle
	pending []change
	acked   map[uint64]bool // stream sequences
	first   uint64          // events of the first boot
	syncs   int
}

type handle struct {
	node     *inode
	offset   int
	appended bool
}

func current(n *inode) map[string]*inode { return n.names }
func durably(n *inode) map[string]*inode { return n.durable }

func (t *traced) alter(make func(of func(*inode) map[string]*inode), dirs ...*inode) {
	make(current)
	t.pending = append(t.pending, change{dirs, make})
}

var (
	callLine    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (-?\d+)(.*)$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	ackSubject  = regexp.MustCompile(`PUB \$JS\.ACK\.EVENTS\.[^. ]+\.\d+\.(\d+)\.[^\r]*\r\n(?:\+ACK|\r\n)`)
	hexText     = regexp.MustCompile(`(?:\\x[0-9a-f]{2})+`)
)

func unhex(s string) string {
	return hexText.ReplaceAllStringFunc(s, func(x string) string {
		b, err := hex.DecodeString(strings.ReplaceAll(x, `\x`, ""))
		if err != nil {
			return x
		}
		return string(b)
	})
}

// each reads the output of strace, and calls after behind each call that it has applied.
func (t *traced) each(file string, after func() error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	begun := map[string]string{} // unfinished calls, by thread
	lines := bufio.NewScanner(f)
	for lines.Buffer(nil, 64<<20); lines.Scan(); {
		line := lines.Text()
		if head, ok := strings.CutSuffix(line, " <unfinished ...>"); ok {
			pid, _, _ := strings.Cut(head, " ")
			begun[pid] = strings.TrimSuffix(head, ",")
			continue
		}
		if m := resumedLine.FindStringSubmatch(line); m != nil {
			line = begun[m[1]] + m[2]
		}
		m := callLine.FindStringSubmatch(line)
		if m == nil || m[4] == "-1" {
			continue
		}
		if err := t.apply(m[2], strings.Split(m[3], ", "), m[4]); err != nil {
			return fmt.Errorf("%.300s: %w", line, err)
		}
		if err := after(); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (t *traced) apply(call string, args []string, result string) error {
	switch call {
	case "openat":
		return t.applyOpen(args, result)
	case "close":
		delete(t.open, descriptor(args[0]))
	case "write", "pwrite64":
		return t.applyWrite(call, args, result)
	case "fsync", "fdatasync":
		if h := t.open[descriptor(args[0])]; h != nil {
			t.sync(h.node)
		}
	case "ftruncate":
		size, err := strconv.Atoi(args[1])
		if h := t.open[descriptor(args[0])]; h != nil {
			h.node.data = append(h.node.data, make([]byte, max(0, size-len(h.node.data)))...)[:size:size]
		}
		return err
	case "mkdirat":
		if dir, name := t.place(args[0], args[1]); dir != nil {
			made := newDir()
			t.alter(func(of func(*inode) map[string]*inode) { of(dir)[name] = made }, dir)
		}
	case "unlinkat":
		if dir, name := t.place(args[0], args[1]); dir != nil {
			t.alter(func(of func(*inode) map[string]*inode) { delete(of(dir), name) }, dir)
		}
	case "linkat", "renameat", "renameat2":
		t.move(call, args)
	case "unlink", "rmdir":
		return t.apply("unlinkat", append([]string{""}, args...), result)
	case "mkdir":
		return t.apply("mkdirat", append([]string{""}, args...), result)
	case "rename", "link":
		return t.apply(call+"at", []string{"", args[0], "", args[1]}, result)
	default: // the program does not use them on its files
		if text := unhex(args[0]); strings.Contains(text, t.root) && !strings.Contains(text, "tracker.db") {
			return fmt.Errorf("the model has no %s", call)
		}
	}
	return nil
}

func (t *traced) applyOpen(args []string, result string) error {
	fd, err := strconv.Atoi(result)
	if err != nil {
		return err
	}
	delete(t.open, fd)
	dir, name := t.place(args[0], args[1])
	if dir == nil {
		return nil
	}
	node := dir.names[name]
	if name == "." {
		node = dir
	}
	if node == nil {
		made := &inode{}
		node = made
		t.alter(func(of func(*inode) map[string]*inode) { of(dir)[name] = made }, dir)
	}
	if strings.Contains(args[2], "O_TRUNC") {
		node.data = nil
	}
	t.open[fd] = &handle{node: node, appended: strings.Contains(args[2], "O_APPEND")}
	return nil
}

func (t *traced) applyWrite(call string, args []string, result string) error {
	n, err := strconv.Atoi(result)
	if err != nil {
		return err
	}
	text := unhex(strings.Trim(args[1], `"`))[:n]
	h := t.open[descriptor(args[0])]
	if h == nil {
		for _, m := range ackSubject.FindAllStringSubmatch(text, -1) {
			sequence, err := strconv.ParseUint(m[1], 10, 64)
			if err != nil {
				return err
			}
			t.acked[sequence] = true
		}
		return nil
	}
	at := h.offset
	if h.appended {
		at = len(h.node.data)
	}
	if call == "pwrite64" {
		if at, err = strconv.Atoi(args[3]); err != nil {
			return err
		}
	} else {
		h.offset = at + n
	}
	if missing := at + n - len(h.node.data); missing > 0 {
		h.node.data = append(h.node.data, make([]byte, missing)...)
	}
	copy(h.node.data[at:], text)
	return nil
}

func (t *traced) move(call string, args []string) {
	from, name := t.place(args[0], args[1])
	to, newName := t.place(args[2], args[3])
	if from == nil || to == nil {
		return
	}
	node, other := from.names[name], to.names[newName]
	exchange := len(args) > 4 && strings.Contains(args[4], "RENAME_EXCHANGE")
	t.alter(func(of func(*inode) map[string]*inode) {
		switch {
		case exchange:
			of(from)[name] = other
		case call != "linkat":
			delete(of(from), name)
		}
		of(to)[newName] = node
	}, from, to)
}

// sync makes a file's content durable, or a directory's entries.
func (t *traced) sync(n *inode) {
	t.syncs++
	if !n.dir {
		n.synced = append([]byte{}, n.data...)
		return
	}
	var rest []change
	for _, c := range t.pending {
		involved := false
		for _, d := range c.dirs {
			involved = involved || d == n
		}
		if involved {
			c.make(durably)
		} else {
			rest = append(rest, c)
		}
	}
	t.pending = rest
}

// place finds the directory of a path below root; it is nil for other paths.
func (t *traced) place(at, path string) (*inode, string) {
	path = unhex(strings.Trim(path, `"`))
	if !filepath.IsAbs(path) {
		_, dir, _ := strings.Cut(unhex(at), "<")
		path = filepath.Join(strings.TrimSuffix(dir, ">"), path)
	}
	rest, err := filepath.Rel(t.root, path)
	if err != nil || rest == ".." || strings.HasPrefix(rest, "../") || strings.HasPrefix(filepath.Base(rest), "tracker.db") {
		return nil, ""
	}
	dir := t.tree
	for parent := filepath.Dir(rest); parent != "."; {
		first, more, _ := strings.Cut(parent, "/")
		if dir = dir.names[first]; dir == nil {
			return nil, ""
		}
		if parent = more; parent == "" {
			break
		}
	}
	return dir, filepath.Base(rest)
}

func descriptor(arg string) int {
	number, _, _ := strings.Cut(arg, "<")
	fd, err := strconv.Atoi(number)
	if err != nil {
		return -1
	}
	return fd
}

// survivors writes what a power cut leaves to dir: what is synced, and of the rest, in the
// order in which it was written, what luck has for it; nil is none.
func (t *traced) survivors(dir string, luck *rand.Rand) error {
	saved := map[*inode]map[string]*inode{}
	var keep func(n *inode)
	keep = func(n *inode) {
		if saved[n] != nil || !n.dir {
			return
		}
		saved[n] = map[string]*inode{}
		for name, child := range n.durable {
			saved[n][name] = child
			keep(child)
		}
	}
	keep(t.tree)
	of := func(n *inode) map[string]*inode {
		keep(n)
		return saved[n]
	}
	for _, c := range t.pending {
		if luck != nil && luck.IntN(2) == 0 {
			c.make(of)
		}
	}
	return t.write(t.tree, dir, of, luck)
}

func (t *traced) write(n *inode, path string, of func(*inode) map[string]*inode, luck *rand.Rand) error {
	if n == nil {
		return nil
	}
	if !n.dir {
		data := n.synced
		if luck != nil && luck.IntN(2) == 0 {
			data = n.data[:luck.IntN(len(n.data)+1)]
			if len(data) < len(n.synced) {
				data = n.synced
			}
		}
		return os.WriteFile(path, data, 0o644)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	for name, child := range of(n) {
		if err := t.write(child, filepath.Join(path, name), of, luck); err != nil {
			return err
		}
	}
	return nil
}
