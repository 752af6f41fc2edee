package cli

import (
	"net/mail"
	"net/url"
	"strings"

	"github.com/urfave/cli/v3"
)

// maxContact bounds --contact in bytes: agents are read up to 256, ours included.
const maxContact = 128

func contactFlag() cli.Flag {
	return text(flagContact, "", "URL or e-mail address of whoever runs this, shown to every node that is visited, in our agent")
}

// agent is our libp2p agent: the program, and whom to ask in the way of web crawlers.
func (in invocation) agent() (string, error) {
	contact := in.cmd.String(flagContact)
	switch {
	case contact == "":
		return programName(), nil
	case len(contact) > maxContact:
		return "", usagef("--%s %q: want at most %d bytes, it has %d", flagContact, contact, maxContact, len(contact))
	case !isContact(contact):
		return "", usagef("--%s %q: want a URL such as https://example.org/crawl or an e-mail address, in ASCII without spaces and parentheses", flagContact, contact)
	}
	return programName() + " (+" + contact + ")", nil
}

func isContact(text string) bool {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '(' || r == ')' }) {
		return false
	}
	if u, err := url.Parse(text); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		return u.Hostname() != "" && u.User == nil
	}
	a, err := mail.ParseAddress(text)
	return err == nil && a.Address == text
}
