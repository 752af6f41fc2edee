package tracker

import (
	"testing"

	"github.com/chainbound/valtrack/internal/eth2"
)

func FuzzParseDays(f *testing.F) {
	f.Add(appendDays(nil, []day{{day: 20000, client: &eth2.Client{Kind: "prysm", Version: "v7"}, data: []byte{1, 2}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		days, err := parseDays(b, map[eth2.Client]*eth2.Client{})
		if err != nil {
			return
		}
		for _, d := range days {
			d.decode()
		}
	})
}
