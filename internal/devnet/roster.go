package devnet

import "sync"

// roster is every node there has been, in order of index. It only grows. Safe for
// concurrent use.
type roster struct {
	mu    sync.Mutex
	nodes []*node
}

func (r *roster) add(n *node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes = append(r.nodes, n)
}

// all is the nodes so far; not to be modified.
func (r *roster) all() []*node {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes
}
