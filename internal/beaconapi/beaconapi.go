package beaconapi

import (
	"context"
	"encoding/json"
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
	// maxResponse bounds a response in bytes: the committees of a whole epoch are some
	// 12 MB with a million validators, those of one slot 0.4 MB.
	maxResponse = 64 << 20
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
		return nil, fmt.Errorf("beacon API %q: want a URL that begins with http:// or https://, such as http://127.0.0.1:5052", withoutUser(base))
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
	if n := inSlot * clock.SlotsPerEpoch; n >= exactBelow {
		return n, nil
	}
	return c.committees(ctx, "?epoch="+strconv.FormatUint(uint64(clock.EpochAt(now)), 10))
}

// committees counts the members of the committees that the query selects.
func (c *Client) committees(ctx context.Context, query string) (n uint64, err error) {
	const path = "/eth/v1/beacon/states/head/committees"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path+query, nil)
	if err != nil {
		return 0, fmt.Errorf("beacon API: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return 0, fmt.Errorf("beacon API: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("beacon API: %s%s: %s", path, query, response.Status)
	}
	if n, err = countMembers(io.LimitReader(response.Body, maxResponse)); err != nil {
		return 0, fmt.Errorf("beacon API: %s%s: %w", path, query, err)
	}
	if n == 0 {
		return 0, fmt.Errorf("beacon API: %s%s: no committees", path, query)
	}
	return n, nil
}

// countMembers reads {"data": [{"validators": ["1", ...]}, ...]} committee by committee.
func countMembers(r io.Reader) (n uint64, err error) {
	dec := json.NewDecoder(r)
	if err := expect(dec, json.Delim('{')); err != nil {
		return 0, err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return 0, err
		}
		if name != "data" {
			var other json.RawMessage
			if err := dec.Decode(&other); err != nil {
				return 0, err
			}
			continue
		}
		if err := expect(dec, json.Delim('[')); err != nil {
			return 0, err
		}
		for dec.More() {
			var committee struct {
				Validators []json.RawMessage `json:"validators"`
			}
			if err := dec.Decode(&committee); err != nil {
				return 0, err
			}
			n += uint64(len(committee.Validators))
		}
		if err := expect(dec, json.Delim(']')); err != nil {
			return 0, err
		}
	}
	return n, expect(dec, json.Delim('}'))
}

func expect(dec *json.Decoder, want json.Delim) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("response has %v, want %v", token, want)
	}
	return nil
}
