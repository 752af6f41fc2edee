package api

import (
	"errors"
	"log/slog"
	"net/http"
)

// Handler answers requests without a server, from what the sources have now: nothing in it
// changes later, and there are no keys and no limits.
func Handler(src Sources, log *slog.Logger) (http.Handler, error) {
	s := &Server{cfg: Config{Log: log}, limits: newLimits(0), stats: newStats()}
	var err error
	if s.keys, err = openKeys("", func(error) {}); err != nil {
		return nil, err
	}
	s.prepare(src)
	if !s.views.update() {
		return nil, errors.New("nothing is estimated yet")
	}
	return s.handler(), nil
}
