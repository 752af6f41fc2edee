package beaconapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"

	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

const (
	// maxSample bounds the validators whose balances are read: members of one slot's
	// committees, which are drawn at random. If a few hold 2,048 ETH, the mean of so many is
	// known to 2 %.
	maxSample = 1 << 15
	// batch is how many validators one request names: some 1.5 MB of response.
	batch = 4096
	// gwei are those of an ETH; maxBalance is more than any validator's effective balance
	// (MAX_EFFECTIVE_BALANCE_ELECTRA is 2,048 ETH).
	gwei       = 1e9
	maxBalance = 10_000 * gwei
	// leastError is the relative error of a mean, however large the sample: balances change.
	leastError = 0.002
)

// MeanBalance is the mean effective balance of the active validators, in ETH, and its
// relative standard error: from a sample of the members of the committees at now. Keys and
// indices in the responses are read over.
func (c *Client) MeanBalance(ctx context.Context, clock eth2.Clock, now time.Time) (mean, relativeError float64, err error) {
	slot := uint64(clock.EpochAt(now)) * clock.SlotsPerEpoch
	ids, n, err := c.sample(ctx, "?slot="+strconv.FormatUint(slot, 10))
	if err != nil {
		return 0, 0, err
	}
	if n *= clock.SlotsPerEpoch; n < exactBelow {
		if ids, n, err = c.sample(ctx, "?epoch="+strconv.FormatUint(uint64(clock.EpochAt(now)), 10)); err != nil {
			return 0, 0, err
		}
	}
	var s balances
	for len(ids) > 0 {
		some := ids[:min(batch, len(ids))]
		if err := c.addBalances(ctx, some, &s); err != nil {
			return 0, 0, err
		}
		ids = ids[len(some):]
	}
	mean, relativeError = s.mean(float64(n))
	return mean, relativeError, nil
}

// sample are the first members of the committees that a query selects, and how many there are.
func (c *Client) sample(ctx context.Context, query string) (ids []uint64, n uint64, err error) {
	err = c.eachMember(ctx, query, func(index uint64) {
		if n++; len(ids) < maxSample {
			ids = append(ids, index)
		}
	})
	return ids, n, err
}

// balances sums balances, in ETH.
type balances struct{ n, sum, squares float64 }

// mean is that of a sample from so many, with its relative standard error.
func (s balances) mean(of float64) (mean, relativeError float64) {
	mean = s.sum / s.n
	variance := max(0, s.squares/s.n-mean*mean) / s.n * max(0, 1-s.n/of)
	return mean, max(leastError, math.Sqrt(variance)/mean)
}

// addBalances adds the balances of some validators.
func (c *Client) addBalances(ctx context.Context, ids []uint64, s *balances) error {
	const path = "/eth/v1/beacon/states/head/validators"
	query := struct {
		IDs []string `json:"ids"`
	}{make([]string, len(ids))}
	for i, id := range ids {
		query.IDs[i] = strconv.FormatUint(id, 10)
	}
	body, err := json.Marshal(query)
	if err != nil {
		return err
	}
	before := s.n
	err = c.read(ctx, http.MethodPost, path, bytes.NewReader(body), func(r io.Reader) error { return readBalances(r, s) })
	if err == nil && s.n-before != float64(len(ids)) {
		err = fmt.Errorf("beacon API: %s: %.0f validators of %d", path, s.n-before, len(ids))
	}
	return err
}

// readBalances reads {"data": [{"validator": {"effective_balance": "32000000000"}}, ...]}.
func readBalances(r io.Reader, s *balances) error {
	a := &tokens{json.NewDecoder(r)}
	return a.object(func(name string) error {
		if name != "data" {
			return a.skip()
		}
		return a.list(func() error {
			return a.object(func(name string) error {
				if name != "validator" {
					return a.skip()
				}
				return a.object(func(name string) error {
					if name != "effective_balance" {
						return a.skip()
					}
					balance, err := a.number("an effective balance")
					if err != nil {
						return err
					}
					if balance < 1 || balance > maxBalance {
						return fmt.Errorf("an effective balance of %d gwei: want 1 to %.0f", balance, float64(maxBalance))
					}
					eth := float64(balance) / gwei
					s.n, s.sum, s.squares = s.n+1, s.sum+eth, s.squares+eth*eth
					return nil
				})
			})
		})
	})
}
