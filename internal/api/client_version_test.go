package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// client_version is the agent string in every answer that has it, and client_release the release.
func TestClientVersionIsTheAgent(t *testing.T) {
	s := newTestServer(t, 60)
	var legacy []map[string]any
	if err := json.Unmarshal(s.get("/validators", false).Body.Bytes(), &legacy); err != nil || len(legacy) == 0 {
		t.Fatalf("%v: %d nodes", err, len(legacy))
	}
	agents := map[any]any{}
	for _, row := range legacy {
		agents[row["peer_id"]] = row["client_version"]
	}
	known := 0
	for _, row := range s.object("/api/v1/nodes?limit=1000", false)["data"].([]any) {
		n := row.(map[string]any)
		if n["client_release"] == nil {
			continue
		}
		known++
		version := fmt.Sprint(n["client_version"])
		if !strings.HasPrefix(version, fmt.Sprint(n["client"], "/")) || !strings.Contains(version, fmt.Sprint(n["client_release"])) {
			t.Errorf("client_version %q of %s %s", version, n["client"], n["client_release"])
		}
		if agent, ok := agents[n["id"]]; ok && agent != version {
			t.Errorf("client_version %q of a node, %q in /validators", version, agent)
		}
	}
	if known == 0 {
		t.Error("no node has a release")
	}
}
