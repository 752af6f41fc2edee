package clickhouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/printable"
)

const (
	dialTimeout = 5 * time.Second
	// queryTimeout bounds a statement without data; insertTimeout one with, which the server
	// reads, sorts and writes.
	queryTimeout  = time.Minute
	insertTimeout = 5 * time.Minute
	// maxAnswer bounds what is read of an answer, in bytes; maxError what is shown of an error.
	maxAnswer = 1 << 20
	maxError  = 400
)

// conn sends statements to a server.
type conn struct {
	*target
	client *http.Client
}

func newConn(t *target) *conn {
	transport := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig: t.tls, TLSHandshakeTimeout: dialTimeout,
		MaxIdleConns: 2, IdleConnTimeout: time.Minute, WriteBufferSize: 1 << 18,
	}
	return &conn{t, &http.Client{
		Transport: transport,
		// The user's password is for this server only.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *conn) close() { c.client.CloseIdleConnections() }

// exec runs a statement without a result.
func (c *conn) exec(ctx context.Context, statement string) error {
	_, err := c.post(ctx, queryTimeout, url.Values{}, strings.NewReader(statement))
	return err
}

// rows runs a query and gives the rows of its result, each with the columns' values.
func (c *conn) rows(ctx context.Context, query string) (rows [][]any, err error) {
	body, err := c.post(ctx, queryTimeout, url.Values{}, strings.NewReader(query+" FORMAT JSONCompact"))
	if err != nil {
		return nil, err
	}
	var result struct{ Data [][]any }
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&result); err != nil {
		return nil, fmt.Errorf("ClickHouse at %s: the answer to %.60q is not a result: %w", c.endpoint, query, err)
	}
	return result.Data, nil
}

// numbers is rows for one row of so many whole numbers.
func (c *conn) numbers(ctx context.Context, query string, n int) ([]uint64, error) {
	rows, err := c.rows(ctx, query)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) != n {
		return nil, fmt.Errorf("ClickHouse at %s: the answer to %.60q is not a row of %d", c.endpoint, query, n)
	}
	out := make([]uint64, n)
	for i, v := range rows[0] { // 64 bits may be quoted
		if out[i], err = strconv.ParseUint(fmt.Sprint(v), 10, 64); err != nil {
			return nil, fmt.Errorf("ClickHouse at %s: the answer to %.60q is not a number: %w", c.endpoint, query, err)
		}
	}
	return out, nil
}

// version is the server's, which is a number and a point at least.
func (c *conn) version(ctx context.Context) (string, error) {
	rows, err := c.rows(ctx, "SELECT version()")
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("ClickHouse at %s does not report its version", c.endpoint)
	}
	return printable.Clean(fmt.Sprintf("%.40v", rows[0][0])), nil
}

// insert runs an INSERT with its data. The id is that of the query: a server does not run a
// second one of the same id beside the first.
func (c *conn) insert(ctx context.Context, statement, id string, data io.Reader) error {
	_, err := c.post(ctx, insertTimeout, url.Values{"query": {statement}, "query_id": {id}}, data)
	return err
}

func (c *conn) post(ctx context.Context, limit time.Duration, values url.Values, body io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	values.Set("wait_end_of_query", "1") // the status says how it ended
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint+"?"+values.Encode(), body)
	if err != nil {
		return nil, err
	}
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	if c.user != "" {
		req.SetBasicAuth(c.user, password)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // its URL has the statement
		}
		return nil, fmt.Errorf("ClickHouse at %s: %w", c.endpoint, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ClickHouse at %s: %w", c.endpoint, err)
	case resp.StatusCode != http.StatusOK:
		return nil, &serverError{c.endpoint, resp.Status, errorText(answer)}
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("ClickHouse at %s: an answer of more than %d bytes", c.endpoint, maxAnswer)
	}
	return answer, nil
}

// serverError is what a server says about a statement.
type serverError struct{ endpoint, status, text string }

func (e *serverError) Error() string {
	return fmt.Sprintf("ClickHouse at %s: %s: %s", e.endpoint, e.status, e.text)
}

// errorText makes the server's words fit for a log.
func errorText(answer []byte) string {
	text := strings.TrimSpace(string(answer))
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "..."
	}
	return printable.Clean(text)
}
