package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// problem is an error for the client, as RFC 9457 has it.
type problem struct {
	Type      string   `json:"type"`
	Title     string   `json:"title"`
	Status    int      `json:"status"`
	Detail    string   `json:"detail,omitempty"`
	Code      string   `json:"code,omitempty"`      // of a problem with the key
	Parameter string   `json:"parameter,omitempty"` // the one that is wrong
	Allowed   []string `json:"allowed,omitempty"`   // what it may be

	retryAfter int // seconds; 0 for no header
}

func (p *problem) Error() string { return p.Detail }

// newProblem is an error with a status code; detail says what is wrong and what to do.
func newProblem(status int, detail string, args ...any) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(detail, args...)}
}

// badParameter is an error about the value of a query parameter.
func badParameter(name, value, want string, allowed ...string) *problem {
	p := newProblem(http.StatusBadRequest, "%s=%s: want %s", name, shorten(value), want)
	p.Parameter, p.Allowed = name, allowed
	return p
}

// shorten bounds a value that is repeated in an error.
func shorten(s string) string {
	const longest = 80
	if s = strings.ToValidUTF8(s, "�"); len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="valtrack", error="invalid_token"`)
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p) //nolint:errcheck // the client has gone
}
