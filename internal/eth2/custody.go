package eth2

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// CustodyGroups is get_custody_groups of consensus-specs fulu/das-core.md: the
// custody groups of a node that announces the custody group count, ascending.
// A count over 128 is an error.
func CustodyGroups(id NodeID, count uint64) ([]uint64, error) {
	if count > NumberOfCustodyGroups {
		return nil, fmt.Errorf("custody group count %d: want at most %d", count, NumberOfCustodyGroups)
	}
	if count == NumberOfCustodyGroups {
		return allCustodyGroups(), nil
	}
	groups := make([]uint64, 0, count)
	var seen [NumberOfCustodyGroups]bool
	// The hash takes the id as a little-endian uint256, counting up and wrapping
	// at its end.
	current := id
	slices.Reverse(current[:])
	for uint64(len(groups)) < count {
		hash := sha256.Sum256(current[:])
		group := binary.LittleEndian.Uint64(hash[:8]) % NumberOfCustodyGroups
		if !seen[group] {
			seen[group] = true
			groups = append(groups, group)
		}
		incrementLittleEndian(&current)
	}
	slices.Sort(groups)
	return groups, nil
}

// CustodyColumns are the data columns of CustodyGroups, ascending
// (compute_columns_for_custody_group).
func CustodyColumns(id NodeID, count uint64) ([]uint64, error) {
	groups, err := CustodyGroups(id, count)
	if err != nil {
		return nil, err
	}
	const columnsPerGroup = NumberOfColumns / NumberOfCustodyGroups
	columns := make([]uint64, 0, len(groups)*columnsPerGroup)
	for _, group := range groups {
		for i := range uint64(columnsPerGroup) {
			columns = append(columns, NumberOfCustodyGroups*i+group)
		}
	}
	slices.Sort(columns)
	return columns, nil
}

func allCustodyGroups() []uint64 {
	groups := make([]uint64, NumberOfCustodyGroups)
	for i := range groups {
		groups[i] = uint64(i)
	}
	return groups
}

func incrementLittleEndian(n *NodeID) {
	for i := range n {
		n[i]++
		if n[i] != 0 {
			return
		}
	}
}
