package site

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxAnswer bounds an answer of the API, in bytes: it is kept in memory. The rows of 200,000
// nodes have less.
const maxAnswer = 256 << 20

// API is where the answers come from. No key is sent, so that they are the public view.
type API struct {
	Client *http.Client
	// URL of the API, with a slash at the end, such as http://127.0.0.1:8080/.
	URL string
}

// Handler is an API in this process.
func Handler(h http.Handler) API {
	return API{Client: &http.Client{Transport: local{h}}, URL: "http://localhost/"}
}

// local answers requests with a handler, without a network.
type local struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (l local) RoundTrip(r *http.Request) (res *http.Response, err error) {
	defer func() {
		// This is how handlers cut an answer off.
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // what is recovered is not wrapped
			res, err = nil, errors.New("the answer was cut off")
		} else if p != nil {
			panic(p)
		}
	}()
	w := &response{header: http.Header{}, status: http.StatusOK}
	l.handler.ServeHTTP(w, r)
	return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), Request: r}, nil
}

// response keeps what a handler answers.
type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *response) Header() http.Header         { return r.header }
func (r *response) WriteHeader(status int)      { r.status = status }
func (r *response) Write(b []byte) (int, error) { return r.body.Write(b) }

// get reads a whole answer.
func (a API) get(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := a.Client.Do(r)
	if err != nil {
		return nil, err // it names the address
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%s: more than %d bytes", path, maxAnswer)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %w", path, problemOf(res.StatusCode, body))
	}
	return body, nil
}

// problemOf is the problem that the API reports.
func problemOf(status int, body []byte) error {
	var p struct{ Detail string }
	if json.Unmarshal(body, &p) == nil && p.Detail != "" {
		return errors.New(p.Detail)
	}
	return errors.New(http.StatusText(status))
}

// file is one answer as a file, which web/src/site.ts reads.
type file struct {
	name string
	path string
	// rows: the answer is a row per line, and becomes data and meta as in the API's JSON.
	rows bool
}

const (
	summaryFile  = "summary.json"
	snapshotFile = "snapshot.json.gz"
	seriesFile   = "timeseries.json"
)

// clockMargin is by how much less than the 30 days that the API keeps of changes is asked for. It
// refuses more, by its own clock, and when its turn comes: that would end the update.
const clockMargin = time.Hour

// nodeFields are the columns of nodes that the page shows. None is an address.
const nodeFields = "id,node_id,client,client_version,client_release,os,arch,validators,validators_low,validators_high,p_validator,since,flags,trust,weight,custody_group_count,all_subnets," +
	"observations,epochs_watched,first_seen,last_seen,fork_digest,next_fork_version,nfd,long_lived_subnets,country,country_code,region,city,latitude,longitude,asn,as_name,hosting,cloud"

// files are all answers of an update. The page shows at most a week by the hour, 30 days by six
// hours, and everything by the day; a file has a little more than that.
func files(now time.Time) []file {
	since := func(days int) string {
		return strconv.FormatInt(now.Add(-time.Duration(days)*24*time.Hour).UnixMilli(), 10)
	}
	list := []file{{name: summaryFile, path: "api/v1/summary"}}
	for _, name := range []string{"countries", "cities", "networks", "hosting", "clients", "subnets", "forks", "errors", "concentration"} {
		list = append(list, file{name: name + ".json", path: "api/v1/" + name})
	}
	return append(list,
		file{name: "timeseries-all.json", path: "api/v1/timeseries?step=all&from=" + since(8)},
		file{name: "timeseries-1h.json", path: "api/v1/timeseries?step=1h&from=" + since(8)},
		file{name: "timeseries-6h.json", path: "api/v1/timeseries?step=6h&from=" + since(31)},
		file{name: "timeseries-1d.json", path: "api/v1/timeseries?step=1d"},
		file{name: seriesFile, path: "api/v1/timeseries?step=1h"},
		file{name: "changes-1d.json", path: "api/v1/changes?format=ndjson&since=" + since(1), rows: true},
		file{name: "changes-7d.json", path: "api/v1/changes?format=ndjson&since=" + since(7), rows: true},
		file{name: "changes-30d.json", path: "api/v1/changes?format=ndjson&since=" + strconv.FormatInt(now.Add(clockMargin-30*24*time.Hour).UnixMilli(), 10), rows: true},
		file{name: "nodes.json", path: "api/v1/nodes?counted=true&format=ndjson&fields=" + nodeFields, rows: true},
		file{name: snapshotFile, path: "api/v1/snapshot"},
	)
}

// answers asks for the files in order. The summary is the first: it says whose view it is.
func (a API) answers(ctx context.Context, now time.Time, each func(name string, content []byte) error) error {
	var meta json.RawMessage
	for _, f := range files(now) {
		body, err := a.get(ctx, f.path)
		if err != nil {
			return err
		}
		if f.name == summaryFile {
			if meta, err = publicMeta(body); err != nil {
				return err
			}
		}
		if f.rows {
			body = wrap(body, meta)
		}
		if err := each(f.name, body); err != nil {
			return err
		}
	}
	return nil
}

// publicMeta is the meta of an answer; an error unless it is of the view without a key, as
// when a proxy in front of the API adds one.
func publicMeta(body []byte) (json.RawMessage, error) {
	var answer struct{ Meta json.RawMessage }
	var meta struct{ Public bool }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("the summary cannot be read: %w", err)
	}
	if err := json.Unmarshal(answer.Meta, &meta); err != nil {
		return nil, fmt.Errorf("the summary has no meta: %w", err)
	}
	if !meta.Public {
		return nil, errors.New("the API returned the view of a key, which has addresses: nothing was published")
	}
	return answer.Meta, nil
}

// wrap makes rows, one per line, the data of an answer.
func wrap(lines []byte, meta json.RawMessage) []byte {
	rows := bytes.Split(bytes.TrimSpace(lines), []byte("\n"))
	var out bytes.Buffer
	out.WriteString(`{"data":[`)
	out.Write(bytes.Join(rows, []byte(",\n")))
	out.WriteString(`],"meta":`)
	out.Write(meta)
	out.WriteString("}\n")
	return out.Bytes()
}
