package cli

import "testing"

func TestNearest(t *testing.T) {
	commands := []string{"sentry", "consumer", "help", "run", "devnet", "replay", "export", "report", "rebuild", "inspect", "check", "version"}
	for word, want := range map[string]string{
		"rnu": "run", "snetry": "sentry", "repport": "report", "replya": "replay", "exprot": "export", "chek": "check",
		"consumr": "consumer", "rebiuld": "rebuild", "vresion": "version", "rum": "run",
		"frobnicate": "", "crawl": "", "x": "", "rm": "", "": "", "purge": "", "visit": "", "délai": "",
	} {
		if got := nearest(word, commands); got != want {
			t.Errorf("%q: did you mean %q? want %q", word, got, want)
		}
	}
}

func TestTypingErrors(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"ab", "ba", 1}, {"abc", "axc", 1}, {"port", "prot", 1}, {"kitten", "sitting", 3}} {
		if got := typingErrors(c.a, c.b); got != c.want || typingErrors(c.b, c.a) != c.want {
			t.Errorf("%q and %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
