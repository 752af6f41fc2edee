package estimate

import (
	"slices"
	"testing"
)

func TestFlagsHaveNames(t *testing.T) {
	all := FlagEveryDuty | FlagSilent | FlagConflict | FlagSaturated | FlagMoved
	if got := all.Names(); !slices.Equal(got, flagNames()) {
		t.Errorf("%v", got)
	}
	if got := (FlagConflict | 1<<15).Names(); !slices.Equal(got, []string{"conflict"}) {
		t.Errorf("%v: a bit of a later version has no name", got)
	}
	if got := Flags(0).Names(); got == nil || len(got) > 0 {
		t.Errorf("%#v, want an empty list", got)
	}
	if TrustAll.String() != "all" || TrustWide.String() != "wide" || Trust(3).String() != "wide" {
		t.Error("trust, also of an earlier version, has another name")
	}
}
