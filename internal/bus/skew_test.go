package bus

import (
	"context"
	"testing"
	"time"
)

func TestClockSkew(t *testing.T) {
	c := connect(t, startServer(t).URL(), discardLog())
	if _, err := c.ensureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	skew, uncertainty, err := c.ClockSkew(t.Context())
	if err != nil || skew.Abs() > uncertainty+time.Millisecond || uncertainty <= 0 {
		t.Errorf("skew %v, uncertainty %v, %v: the server has our clock", skew, uncertainty, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.ClockSkew(ended); err == nil {
		t.Error("no error without an answer")
	}
}
