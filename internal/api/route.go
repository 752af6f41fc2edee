package api

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/chainbound/valtrack/internal/dashboard"
)

// Content types of answers.
const (
	typeJSON    = "application/json"
	typeNDJSON  = "application/x-ndjson"
	typeCSV     = "text/csv; charset=utf-8"
	typeGeoJSON = "application/geo+json"
	typeParquet = "application/vnd.apache.parquet"
	typeText    = "text/plain; charset=utf-8"
	typeHTML    = "text/html; charset=utf-8"
	typeEvents  = "text/event-stream"
	typeGzip    = "application/gzip"
)

// request is what a handler gets.
type request struct {
	*http.Request
	*query
	caller caller
	client client // empty for a route that is not limited
	view   *view  // nil for a route that needs none
}

// answer is what a handler gives: a body, or a function that writes it.
type answer struct {
	contentType string
	body        []byte
	stream      func(ctx context.Context, w io.Writer) error
	limit       time.Duration               // of the stream; 0 is exportTime
	trailer     func() (name, value string) // of the stream, after its end; nil for none
	// etag without quotes; empty for what must not be cached.
	etag     string
	status   int    // 0 is 200
	fileName string // for a download; empty for none
	// serve answers instead of all that; for files with ranges and for streams of events.
	serve http.HandlerFunc
	// release frees what the answer holds; nil for nothing. Server.write calls it in any case, also
	// when nothing is streamed as the client has the answer already.
	release func()
}

// handler answers a request.
type handler func(s *Server, r *request) (answer, *problem)

// route is one path.
type route struct {
	path   string
	handle handler
	// view is needed: without estimates the answer is a problem.
	view bool
	// open routes are not limited: health is asked for by machines.
	open bool
}

// handler is the whole API.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range routes() {
		mux.Handle("GET "+route.path, s.routeHandler(route))
	}
	missing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		probe := r.Clone(r.Context())
		probe.Method = http.MethodGet
		if _, pattern := mux.Handler(probe); r.Method != http.MethodGet && pattern != "/" {
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			newProblem(http.StatusMethodNotAllowed, "%s %s: only GET and HEAD are allowed", shorten(r.Method), shorten(r.URL.Path)).write(w)
			return
		}
		newProblem(http.StatusNotFound, "%s: no such path; /docs lists them", shorten(r.URL.Path)).write(w)
	})
	mux.Handle("/", missing)
	page := dashboard.Handler(missing)
	mux.Handle("GET /{$}", page)
	mux.Handle("GET /assets/", page)
	compressed, err := gzhttp.NewWrapper(gzhttp.MinSize(1024), gzhttp.EnableZstd(true), gzhttp.CompressionLevel(5),
		gzhttp.ContentTypes([]string{typeJSON, typeNDJSON, "text/csv", typeGeoJSON, "text/plain", "text/html", "application/problem+json"}))
	if err != nil {
		panic(err) // of the options above
	}
	return s.outer(compressed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would redirect to a path without empty and dotted parts, in HTML.
		if clean := path.Clean(r.URL.Path); clean != r.URL.Path {
			newProblem(http.StatusNotFound, "%s: no such path; /docs lists them", shorten(r.URL.Path)).write(w)
			return
		}
		mux.ServeHTTP(w, r)
	})))
}

// outer is around everything: headers for all answers, the log, and metrics.
func (s *Server) outer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		rec := &recorder{ResponseWriter: w}
		rec.extendDeadline()
		defer func() {
			err := recover()
			if err != nil && err != http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
				s.cfg.Log.Error("a request failed: this is a bug in Valtrack", slog.String("path", r.URL.Path), slog.Any("error", err), slog.String("stack", string(debug.Stack())))
			}
			s.served(rec, r, time.Since(began), err != nil)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
		}()
		if s.cors(rec, r) {
			next.ServeHTTP(rec, r)
		}
	})
}

// served counts an answer and writes the access log. An answer was aborted if the client did not
// take all of it, or was not sent all.
func (s *Server) served(rec *recorder, r *http.Request, took time.Duration, aborted bool) {
	aborted = aborted || rec.failed
	status := cmp.Or(rec.status, http.StatusOK)
	s.stats.request(status, took, aborted)
	s.cfg.Log.Debug("answered", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", status), slog.Bool("aborted", aborted),
		slog.Int64("bytes", rec.bytes), slog.Duration("took", took), slog.Any("client", clientAddr(r, s.cfg.Proxies)))
}

// cors sets the headers for browsers of other origins, and answers what they ask before a
// request: false when that was it.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	allowed := origin != "" && (slices.Contains(s.cfg.Origins, origin) || slices.Contains(s.cfg.Origins, "*"))
	if len(s.cfg.Origins) > 0 {
		w.Header().Add("Vary", "Origin")
	}
	if allowed {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", "ETag, Content-Disposition, Retry-After, Digest, WWW-Authenticate")
	}
	if r.Method != http.MethodOptions {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD, OPTIONS")
	if allowed {
		w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD")
		w.Header().Set("Access-Control-Allow-Headers", "X-API-Key, Authorization, If-None-Match, Range, Last-Event-ID")
		w.Header().Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
	return false
}

// recorder remembers what was answered, and gives the client more time with each piece that
// it takes: one that takes nothing for so long is disconnected.
type recorder struct {
	http.ResponseWriter
	status   int
	bytes    int64
	extended time.Time
	failed   bool // a write
}

// extendDeadline is called before each write: the compressing writer in between would hide
// the connection.
func (r *recorder) extendDeadline() {
	if now := time.Now(); now.Sub(r.extended) > time.Second {
		r.extended = now
		http.NewResponseController(r.ResponseWriter).SetWriteDeadline(now.Add(writeTimeout)) //nolint:errcheck // the writer of a test has none
	}
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.extendDeadline()
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	r.failed = r.failed || err != nil
	return n, err
}

// Flush implements http.Flusher, for streams.
func (r *recorder) Flush() { http.NewResponseController(r.ResponseWriter).Flush() }

// routeHandler checks who asks, and how often, and answers.
func (s *Server) routeHandler(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "X-API-Key, Authorization")
		a, p := s.answer(route, r)
		if p != nil {
			p.write(w)
			return
		}
		s.write(w, r, a)
	})
}

func (s *Server) answer(route route, r *http.Request) (answer, *problem) {
	addr := netip.Addr{}
	if !route.open {
		addr = clientAddr(r, s.cfg.Proxies)
	}
	who, p := s.keys.caller(r)
	if p != nil {
		// A guess counts as a request without a key.
		if limited := s.limits.allow(client{addr: addr}); limited != nil && !route.open {
			return answer{}, limited
		}
		return answer{}, p
	}
	asks := client{who.name, addr}
	if !route.open {
		if p := s.limits.allow(asks); p != nil {
			return answer{}, p
		}
	}
	req := &request{Request: r, query: parseQuery(r), caller: who, client: asks}
	if req.err != nil {
		return answer{}, req.err
	}
	if route.view {
		if req.view = s.views.current.Load(); req.view == nil {
			p := newProblem(http.StatusServiceUnavailable, "nothing has been estimated yet: the data is still being read, or the number of active validators is not known (see the log)")
			p.retryAfter = 2
			return answer{}, p
		}
	}
	return route.handle(s, req)
}

// write writes an answer, and releases what it holds.
func (s *Server) write(w http.ResponseWriter, r *http.Request, a answer) {
	if a.release != nil {
		defer a.release()
	}
	if a.serve != nil {
		a.serve(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "no-cache") // cached, and asked for again with its tag
	if a.etag == "" {
		h.Set("Cache-Control", "no-store")
	} else {
		// Weak: meta says how old the data are, and a compressed answer has the same tag.
		h.Set("ETag", `W/"`+a.etag+`"`)
		if matches(r.Header.Get("If-None-Match"), a.etag) {
			h.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if a.fileName != "" {
		h.Set("Content-Disposition", `attachment; filename="`+a.fileName+`"`)
	}
	if a.stream == nil {
		if a.status != 0 {
			w.WriteHeader(a.status)
		}
		w.Write(a.body) //nolint:errcheck // the client has gone
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), cmp.Or(a.limit, exportTime))
	defer cancel()
	if a.trailer != nil {
		name, _ := a.trailer()
		h.Set("Trailer", name)
	}
	if err := a.stream(ctx, boundWriter{ctx, w}); err != nil {
		s.cfg.Log.Debug("an answer was cut off", slog.String("path", r.URL.Path), slog.Any("error", err))
		panic(http.ErrAbortHandler) // the client must not take it for the whole
	}
	if a.trailer != nil {
		h.Set(a.trailer())
	}
}

// boundWriter fails once ctx has ended: a client that reads a little at a time does not keep a
// slot for longer.
type boundWriter struct {
	ctx context.Context //nolint:containedctx // of one answer
	w   io.Writer
}

func (b boundWriter) Write(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.w.Write(p)
}

// matches reports whether an If-None-Match header has a tag.
func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == strconv.Quote(etag) {
			return true
		}
	}
	return false
}
