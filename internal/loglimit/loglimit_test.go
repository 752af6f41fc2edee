package loglimit

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Every(time.Second)
		allowed := 0
		for range 31 { // three seconds
			if l.Allow() {
				allowed++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if allowed != 4 {
			t.Errorf("%d lines in three seconds, want the first and one per second", allowed)
		}
	})
}
