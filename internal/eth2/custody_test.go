package eth2_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/eth2"
)

func TestCustodyVectors(t *testing.T) {
	var file struct {
		Vectors []struct {
			NodeID  eth2.NodeID `json:"node_id"`
			CGC     uint64
			Groups  []uint64
			Columns []uint64
		}
	}
	readVectors(t, "custody_groups.json", &file)
	if len(file.Vectors) != 240 {
		t.Fatalf("%d vectors: want 240", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		groups, err := eth2.CustodyGroups(v.NodeID, v.CGC)
		if err != nil {
			t.Fatalf("node %s cgc %d: %v", v.NodeID, v.CGC, err)
		}
		if diff := cmp.Diff(v.Groups, groups, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("node %s cgc %d: groups (-want +got):\n%s", v.NodeID, v.CGC, diff)
		}
		columns, err := eth2.CustodyColumns(v.NodeID, v.CGC)
		if err != nil {
			t.Fatalf("node %s cgc %d: %v", v.NodeID, v.CGC, err)
		}
		if diff := cmp.Diff(v.Columns, columns, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("node %s cgc %d: columns (-want +got):\n%s", v.NodeID, v.CGC, diff)
		}
	}
}

// A peer can announce any count: it must not make us loop or allocate.
func TestCustodyCountOutOfRange(t *testing.T) {
	for _, count := range []uint64{129, 1 << 40, 1<<64 - 1} {
		if groups, err := eth2.CustodyGroups(eth2.NodeID{}, count); err == nil {
			t.Errorf("groups of count %d: got %d, want an error", count, len(groups))
		}
		if columns, err := eth2.CustodyColumns(eth2.NodeID{}, count); err == nil {
			t.Errorf("columns of count %d: got %d, want an error", count, len(columns))
		}
	}
}
