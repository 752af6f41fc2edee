package eventlog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chainbound/valtrack/internal/event"
)

func TestPurgeRejected(t *testing.T) {
	dir := t.TempDir()
	older, newer := filepath.Join(dir, olderRejectedName), filepath.Join(dir, RejectedName)
	files := map[string]string{
		older: `{"key":"s-1-1","payload":"{\"id\":\"gone\"}"}` + "\n" + `{"key":"s-1-2","payload":"{\"id\":\"stays\"}"}` + "\n",
		newer: `{"key":"s-1-3","payload":"stays"}` + "\n" +
			`{"key":"s-1-4","payload_base64":"/2dvbmU="}` + "\n" + // gone, behind a byte that is not UTF-8
			`{"payload":"gone"}` + "\n" + "an editor's line\n" + "an editor's gone line\n" + `{"key":"s-1-5","payl`,
	}
	write := func() {
		for path, text := range files {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := func(data []byte) bool { return bytes.Contains(data, []byte("gone")) }
	write()
	stop := errors.New("stop")
	if n, err := PurgeRejected(dir, gone, func([]event.Key) error { return stop }); n != 0 || !errors.Is(err, stop) {
		t.Errorf("removed %d, %v although the keys could not be kept", n, err)
	}
	if text, err := os.ReadFile(older); err != nil || string(text) != files[older] {
		t.Errorf("%s, %v", text, err)
	}

	var keys []string
	n, err := PurgeRejected(dir, gone, func(list []event.Key) error {
		for _, k := range list {
			keys = append(keys, k.String())
		}
		return nil
	})
	if err != nil || n != 4 {
		t.Errorf("removed %d, %v", n, err)
	}
	if d := cmp.Diff([]string{"s-1-1", "s-1-4"}, keys); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
	for path, want := range map[string]string{
		older: `{"key":"s-1-2","payload":"{\"id\":\"stays\"}"}` + "\n",
		newer: `{"key":"s-1-3","payload":"stays"}` + "\n" + "an editor's line\n",
	} {
		if text, err := os.ReadFile(path); err != nil || string(text) != want {
			t.Errorf("%s: %s, %v", filepath.Base(path), text, err)
		}
	}
	if n, err := PurgeRejected(t.TempDir(), gone, nil); n != 0 || err != nil {
		t.Errorf("removed %d, %v from an empty directory", n, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 || err != nil {
		t.Errorf("left %s, %v", strings.Join(left, " "), err)
	}
}
