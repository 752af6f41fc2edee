package dune

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/printable"
)

// DefaultURL is Dune's API.
const DefaultURL = "https://api.dune.com/api/v1"

const (
	// maxAnswer bounds an answer in bytes, maxPages the pages of a list.
	maxAnswer = 4 << 20
	maxPages  = 200
	pageSize  = 100
	// callTimeout bounds one attempt, which may upload a batch.
	callTimeout  = 5 * time.Minute
	attempts     = 5
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
)

// errUnclear is that nobody knows whether a request had an effect: the connection broke
// after it was sent.
var errUnclear = errors.New("whether Dune did this is unknown")

// statusError is an answer other than success.
type statusError struct {
	what   string // was asked for
	status int
	text   string
}

func (e *statusError) Error() string {
	hint := ""
	switch e.status {
	case http.StatusUnauthorized:
		hint = "; is this the API key?"
	case http.StatusPaymentRequired, http.StatusForbidden:
		hint = "; the key must be of the namespace's owner and may write, and managing queries needs a plan that has it"
	}
	return fmt.Sprintf("asking Dune, %s: %d %s%s", e.what, e.status, e.text, hint)
}

// Denied reports whether an error is that the key is not allowed to do this: trying again
// changes nothing.
func Denied(err error) bool {
	var answered *statusError
	return errors.As(err, &answered) && (answered.status == http.StatusUnauthorized || answered.status == http.StatusPaymentRequired || answered.status == http.StatusForbidden)
}

// api sends requests to Dune.
type api struct {
	url, key string
	http     *http.Client
}

// call is one request.
type call struct {
	method, path string
	body         []byte
	contentType  string
	// once: a second request would have a second effect, so that it is not repeated unless
	// Dune says that the first one had none. Others are repeated.
	once bool
}

// do sends a request until it is answered, and decodes the answer.
func (a *api) do(ctx context.Context, c call, out any) error {
	backoff := firstBackoff
	for attempt := 1; ; attempt++ {
		wait, err := a.try(ctx, c, out)
		if err == nil || ctx.Err() != nil || wait == 0 || attempt == attempts {
			return err
		}
		wait = min(max(wait, backoff/2+time.Duration(rand.Int64N(int64(backoff)))), 2*time.Minute)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		case <-timer.C:
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// try sends a request once. A wait of more than zero after an error is that it may be
// repeated after it.
func (a *api) try(ctx context.Context, c call, out any) (wait time.Duration, err error) {
	what := c.method + " " + c.path
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, c.method, strings.TrimSuffix(a.url, "/")+c.path, bytes.NewReader(c.body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Dune-Api-Key", a.key)
	if c.contentType != "" {
		req.Header.Set("Content-Type", c.contentType)
	}
	again := time.Duration(1)
	if c.once {
		again = 0
	}
	res, err := a.http.Do(req)
	if err != nil {
		// Not wrapped: an error of the connection to Valtrack's API would look the same.
		return again, fmt.Errorf("asking Dune, %s: %w: %s", what, errUnclear, err.Error())
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case res.StatusCode != http.StatusOK:
		bad := &statusError{what, res.StatusCode, printable.Clean(string(body[:min(len(body), 300)]))}
		switch res.StatusCode {
		case http.StatusTooManyRequests, http.StatusServiceUnavailable: // it did nothing
			return max(retryAfter(res.Header.Get("Retry-After")), 1), bad
		case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
			return again, fmt.Errorf("%w: %w", errUnclear, bad)
		}
		return 0, bad
	case err != nil:
		return again, fmt.Errorf("asking Dune, %s: %w: %w", what, errUnclear, err)
	case len(body) > maxAnswer:
		return 0, fmt.Errorf("asking Dune, %s: the answer is over %d MiB", what, maxAnswer>>20)
	case out == nil:
		return 0, nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return again, fmt.Errorf("asking Dune, %s: %w: %w", what, errUnclear, err)
	}
	return 0, nil
}

// retryAfter reads the seconds of the header; 0 for none.
func retryAfter(text string) time.Duration {
	seconds, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func (a *api) json(ctx context.Context, method, path string, body, out any, once bool) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return a.do(ctx, call{method: method, path: path, body: data, contentType: "application/json", once: once}, out)
}

// schemaColumn is a column of a table to create.
type schemaColumn struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Nullable bool   `json:"nullable"`
}

// create makes an empty table, whose name nobody has used.
func (a *api) create(ctx context.Context, namespace, table, description string, schema []schemaColumn) error {
	var out struct {
		AlreadyExisted bool `json:"already_existed"`
	}
	err := a.json(ctx, http.MethodPost, "/uploads", map[string]any{
		"namespace": namespace, "table_name": table, "description": description, "is_private": false, "schema": schema,
	}, &out, true)
	if err == nil && out.AlreadyExisted {
		return fmt.Errorf("table %s: %w: it was there before", table, errUnclear)
	}
	return err
}

// insert adds rows, all of them or none.
func (a *api) insert(ctx context.Context, namespace, table string, rows int, ndjson []byte) error {
	var out struct {
		RowsWritten *int `json:"rows_written"`
	}
	err := a.do(ctx, call{
		method: http.MethodPost, path: "/uploads/" + namespace + "/" + table + "/insert", body: ndjson, contentType: "application/x-ndjson", once: true,
	}, &out)
	if err == nil && out.RowsWritten != nil && *out.RowsWritten != rows {
		return fmt.Errorf("table %s: %w: it says that %d of %d rows were written", table, errUnclear, *out.RowsWritten, rows)
	}
	return err
}

// drop deletes a table; one that is not there is deleted.
func (a *api) drop(ctx context.Context, namespace, table string) error {
	err := a.do(ctx, call{method: http.MethodDelete, path: "/uploads/" + namespace + "/" + table}, nil)
	var answered *statusError
	if errors.As(err, &answered) && answered.status == http.StatusNotFound {
		return nil
	}
	return err
}

// tables lists the names of the tables of a namespace.
func (a *api) tables(ctx context.Context, namespace string) (names []string, err error) {
	offset := 0
	for range maxPages {
		var out struct {
			Tables []struct {
				FullName string `json:"full_name"`
			} `json:"tables"`
			NextOffset int `json:"next_offset"`
		}
		if err := a.do(ctx, call{method: http.MethodGet, path: fmt.Sprintf("/uploads?limit=%d&offset=%d", pageSize, offset)}, &out); err != nil {
			return nil, err
		}
		for _, t := range out.Tables {
			if name, ok := strings.CutPrefix(strings.TrimPrefix(t.FullName, "dune."), namespace+"."); ok {
				names = append(names, name)
			}
		}
		if len(out.Tables) == 0 || out.NextOffset <= offset {
			break
		}
		offset = out.NextOffset
	}
	return names, nil
}

// query is a saved query, which readers use as a view.
type query struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// queries lists the saved queries of the key's owner.
func (a *api) queries(ctx context.Context) (all []query, err error) {
	for range maxPages {
		var out struct {
			Queries []query `json:"queries"`
			Total   int     `json:"total"`
		}
		if err := a.do(ctx, call{method: http.MethodGet, path: fmt.Sprintf("/queries?limit=%d&offset=%d", pageSize, len(all))}, &out); err != nil {
			return nil, err
		}
		all = append(all, out.Queries...)
		if len(out.Queries) == 0 || len(all) >= out.Total {
			break
		}
	}
	return all, nil
}

// readQuery is the SQL of a query.
func (a *api) readQuery(ctx context.Context, id int64) (string, error) {
	var out struct {
		SQL string `json:"query_sql"`
	}
	err := a.do(ctx, call{method: http.MethodGet, path: fmt.Sprintf("/query/%d", id)}, &out)
	return out.SQL, err
}

// createQuery saves a query. After an unclear error it may be there.
func (a *api) createQuery(ctx context.Context, name, description, sql string) (int64, error) {
	var out struct {
		ID int64 `json:"query_id"`
	}
	err := a.json(ctx, http.MethodPost, "/query", map[string]any{"name": name, "description": description, "query_sql": sql, "is_private": false}, &out, true)
	return out.ID, err
}

// updateQuery changes the SQL and the description of a query.
func (a *api) updateQuery(ctx context.Context, id int64, description, sql string) error {
	return a.json(ctx, http.MethodPatch, fmt.Sprintf("/query/%d", id), map[string]any{"description": description, "query_sql": sql}, nil, false)
}
