package hosting

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// A Type is what kind of network an autonomous system is.
type Type string

// The types. Their names are those of IPinfo.
const (
	ISP       Type = "isp"       // sells access or transit
	Hosting   Type = "hosting"   // sells servers, cloud or colocation
	Business  Type = "business"  // a company's own network
	Education Type = "education" // a university, a school, or their network
	Unknown   Type = "unknown"   // neither the table nor a rule decides
)

// A Verdict is what is known of a network.
type Verdict struct {
	Type Type
	// Cloud is the short name of a large hosting provider, such as "aws",
	// which has one name for all its networks. Empty otherwise.
	Cloud string
	// Source is "table", "rule:" and the word that decided, or empty with
	// Unknown.
	Source string
}

// maxName bounds how much of a name the rules look at, in bytes: names come
// from files that users bring.
const maxName = 128

// Classify says what kind of network an autonomous system is. name is the
// organisation ("Hetzner Online GmbH") or the AS name ("HETZNER-AS"), and may
// be empty, as asn may be 0. It does not allocate; a name that the table does
// not decide costs a few microseconds, so callers on a hot path remember the
// verdict for each network.
func Classify(asn uint32, name string) Verdict {
	if v, ok := table()[asn]; ok {
		return v
	}
	return classifyName(name)
}

// classifyName applies the first rule that fits, or none.
func classifyName(name string) Verdict {
	var buf [maxName + 2*utf8.UTFMax]byte
	words := normalise(buf[:0], name)
	for _, r := range rules() {
		if bytes.Contains(words, r.pattern) {
			return r.verdict
		}
	}
	return Verdict{Type: Unknown}
}

// normalise appends the words of a name in lower case, each with a space
// before and after it, so that a rule can ask for a whole word, or the
// beginning or end of one. Everything but letters and digits separates words.
func normalise(buf []byte, name string) []byte {
	buf = append(buf, ' ')
	for _, r := range name {
		if len(buf) > maxName {
			break
		}
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			buf = utf8.AppendRune(buf, unicode.ToLower(r))
		case buf[len(buf)-1] != ' ':
			buf = append(buf, ' ')
		}
	}
	if buf[len(buf)-1] != ' ' {
		buf = append(buf, ' ')
	}
	return buf
}
