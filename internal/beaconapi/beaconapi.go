package beaconapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	// timeout bounds one request; nodes compute the committees of an epoch once.
	timeout = 30 * time.Second
	// maxResponse bounds a response in bytes: the committees of one slot are some 0.4 MB with
	// a million validators, those of the whole epoch 1.2 MB below exactBelow.
	maxResponse = 16 << 20
	// maxActive bounds the number that is believed. Mainnet has had about a million, and cannot
	// grow tenfold within years (its churn limit).
	maxActive = 10_000_000
	// exactBelow is the number below which the committees of the whole epoch are read:
	// those of one slot give the number only to within one validator per slot.
	exactBelow = 100_000
)

// Client reads from one beacon node.
type Client struct {
	base string
	http *http.Client
}

// New checks the URL of a Beacon API, such as http://127.0.0.1:5052.
func New(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil { // such as 127.0.0.1:5052; the text may have a password
		return nil, fmt.Errorf("beacon API %q: want a URL starting with http:// or https://, such as http://127.0.0.1:5052", withoutUser(base))
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("beacon API %q: want a URL such as http://127.0.0.1:5052", u.Redacted())
	}
	return &Client{strings.TrimRight(base, "/"), &http.Client{Timeout: timeout}}, nil
}

// withoutUser is a text that is no URL without what may be a name and a password.
func withoutUser(text string) string {
	if at := strings.LastIndex(text, "@"); at >= 0 {
		return "xxxxx" + text[at:]
	}
	return text
}

// ActiveValidators counts the validators that have a duty in the epoch at now: each is
// in one committee (phase0/validator.md, get_committee_assignment). The list of
// validators would give the same number in hundreds of megabytes. The node has to be in sync:
// else it does not know the slot's committees, which is an error.
func (c *Client) ActiveValidators(ctx context.Context, clock eth2.Clock, now time.Time) (uint64, error) {
	slot := uint64(clock.EpochAt(now)) * clock.SlotsPerEpoch
	inSlot, err := c.committees(ctx, "?slot="+strconv.FormatUint(slot, 10))
	if err != nil {
		return 0, err
	}
	n := inSlot * clock.SlotsPerEpoch
	if n >= exactBelow {
		return plausible(n)
	}
	n, err = c.committees(ctx, "?epoch="+strconv.FormatUint(uint64(clock.EpochAt(now)), 10))
	if err != nil {
		return 0, err
	}
	return plausible(n)
}

// plausible refuses a number that no network has: estimates are scaled by it.
func plausible(n uint64) (uint64, error) {
	if n < 1 || n > maxActive {
		return 0, fmt.Errorf("beacon API: %d active validators: want 1 to %d", n, maxActive)
	}
	return n, nil
}

// committees counts the members of the committees that the query selects.
func (c *Client) committees(ctx context.Context, query string) (n uint64, err error) {
	err = c.eachMember(ctx, query, func(uint64) { n++ })
	return n, err
}

// eachMember calls member with the index of each member of the committees that the query
// selects. No member at all is an error.
func (c *Client) eachMember(ctx context.Context, query string, member func(index uint64)) error {
	const path = "/eth/v1/beacon/states/head/committees"
	n := 0
	err := c.read(ctx, http.MethodGet, path+query, nil, func(r io.Reader) error {
		return readMembers(r, func(index uint64) { n++; member(index) })
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("beacon API: %s%s: no committees", path, query)
	}
	return err
}

// read makes a request and passes the body of its response, at most maxResponse bytes of it.
func (c *Client) read(ctx context.Context, method, path string, body io.Reader, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("beacon API: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("beacon API: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("beacon API: %s: %s", path, response.Status)
	}
	if err := read(&capped{response.Body, maxResponse}); err != nil {
		return fmt.Errorf("beacon API: %s: %w", path, err)
	}
	return nil
}

// readMembers reads {"data": [{"validators": ["1", ...]}, ...]} member by member: an answer
// takes little memory, whatever it has.
func readMembers(r io.Reader, member func(index uint64)) error {
	a := &tokens{json.NewDecoder(r)}
	return a.object(func(name string) error {
		if name != "data" {
			return a.skip()
		}
		return a.list(func() error {
			return a.object(func(name string) error {
				if name != "validators" {
					return a.skip()
				}
				return a.list(func() error {
					index, err := a.number("the index of a validator")
					member(index)
					return err
				})
			})
		})
	})
}

// tokens reads an answer token by token.
type tokens struct{ *json.Decoder }

// object calls member after each name of an object; member reads the value.
func (a *tokens) object(member func(name string) error) error {
	if err := a.expect(json.Delim('{')); err != nil {
		return err
	}
	for a.More() {
		name, err := a.Token()
		if err != nil {
			return err
		}
		if err := member(name.(string)); err != nil { // the decoder allows nothing else
			return err
		}
	}
	return a.expect(json.Delim('}'))
}

// list calls element for each element of a list, which element reads.
func (a *tokens) list(element func() error) error {
	if err := a.expect(json.Delim('[')); err != nil {
		return err
	}
	for a.More() {
		if err := element(); err != nil {
			return err
		}
	}
	return a.expect(json.Delim(']'))
}

// number reads a number in a string.
func (a *tokens) number(what string) (uint64, error) {
	token, err := a.Token()
	if err != nil {
		return 0, err
	}
	text, ok := token.(string)
	n, err := strconv.ParseUint(text, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("response has %.40q, want %s", fmt.Sprint(token), what)
	}
	return n, nil
}

// maxDepth bounds how deep the values are nested that skip reads over: the decoder
// remembers every level.
const maxDepth = 100

// skip reads over a value.
func (a *tokens) skip() error {
	for depth := 0; ; {
		token, err := a.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		switch {
		case depth == 0:
			return nil
		case depth > maxDepth:
			return errors.New("response is nested too deeply")
		}
	}
}

func (a *tokens) expect(want json.Delim) error {
	token, err := a.Token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("response has %.40q, want %v", fmt.Sprint(token), want)
	}
	return nil
}

// capped is an error instead of more than so many bytes.
type capped struct {
	r    io.Reader
	left int
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("response is larger than %d bytes", maxResponse)
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
