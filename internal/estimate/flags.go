package estimate

import "math/bits"

// Flags say what makes a node's estimate doubtful. The bits are in stored estimates.
type Flags uint16

// Flags of a node.
const (
	// FlagEveryDuty: the node shows every duty of its validators, or may do so.
	FlagEveryDuty Flags = 1 << iota
	// FlagSilent: the custody group count requires validators, and no duty shows.
	FlagSilent
	// FlagConflict: the node's signals exclude each other.
	FlagConflict
	// FlagSaturated: the node fills all cells that could tell larger numbers apart.
	FlagSaturated
	// FlagMoved: the number changed within the days of the estimate.
	FlagMoved
)

// flagNames are in the order of the bits.
func flagNames() []string { return []string{"every_duty", "silent", "conflict", "saturated", "moved"} }

// Names lists the flags that are set; never nil.
func (f Flags) Names() []string {
	out := []string{}
	names := flagNames()
	for rest := f; rest != 0; rest &= rest - 1 {
		if i := bits.TrailingZeros16(uint16(rest)); i < len(names) {
			out = append(out, names[i])
		}
	}
	return out
}

// String names a level of trust as the datasets do.
func (t Trust) String() string {
	if t == TrustAll {
		return "all"
	}
	return "wide"
}
