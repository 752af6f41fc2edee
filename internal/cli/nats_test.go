package cli

import (
	"strings"
	"testing"
)

// What a sentry of contrib/nats/nats.conf is denied has a way out other than that file.
func TestWayOutOfDeniedPermissions(t *testing.T) {
	const create, update = "publish to $JS.API.STREAM.CREATE.EVENTS", "publish to $JS.HUB.API.STREAM.UPDATE.EVENTS"
	for want, denied := range map[string][]string{
		"start a consumer first":                         {create},
		"nats stream edit --subjects events.":            {update},
		"contrib/nats/nats.conf has what":                {"publish to events.visit_ended"},
		"contrib/nats/nats.conf has what each role need": {"publish to events.visit_ended", create},
	} {
		if got := wayOut(denied); !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %q", denied, got, want)
		}
	}
}
