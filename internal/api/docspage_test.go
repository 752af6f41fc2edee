package api

import (
	"regexp"
	"strings"
	"testing"
)

// TestDocsAreHTML: the page to read shows no markup of the document that it is made from.
func TestDocsAreHTML(t *testing.T) {
	html := string(specOnce().html)
	if m := regexp.MustCompile("`[^`]*`|\\*\\w+\\*").FindString(html); m != "" {
		t.Errorf("the page has %q", m)
	}
	if !strings.Contains(html, "<code>X-API-Key</code>") {
		t.Error("the page has no code")
	}
	if got := inline("a < `b & <c>`"); got != "a &lt; <code>b &amp; &lt;c&gt;</code>" {
		t.Errorf("%s", got)
	}
}
