package eth2_test

import (
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

func TestClock(t *testing.T) {
	mainnet := eth2.Clock{Genesis: time.Unix(1606824023, 0), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}
	gnosis := eth2.Clock{Genesis: time.Unix(1638993340, 0), SlotDuration: 5 * time.Second, SlotsPerEpoch: 16}
	devnet := eth2.Clock{Genesis: time.Unix(1000, 0), SlotDuration: 250 * time.Millisecond, SlotsPerEpoch: 4}
	for _, tt := range []struct {
		clock eth2.Clock
		at    time.Time
		slot  eth2.Slot
		epoch eth2.Epoch
	}{
		{mainnet, time.Time{}, 0, 0},
		{mainnet, time.Unix(1606824022, 0), 0, 0},
		{mainnet, time.Unix(1606824023, 0), 0, 0},
		{mainnet, time.Unix(1606824023+12*32, 0), 32, 1},
		{mainnet, time.Unix(1606824023+12*32-1, 999), 31, 0},
		{mainnet, time.Unix(1767747671, 0), 419072 * 32, 419072},
		{gnosis, time.Unix(1638993340+5*16*512, 0), 8192, 512},
		{devnet, time.Unix(1001, 249e6), 4, 1},
	} {
		if got := tt.clock.SlotAt(tt.at); got != tt.slot {
			t.Errorf("slot at %v: %d, want %d", tt.at, got, tt.slot)
		}
		if got := tt.clock.EpochAt(tt.at); got != tt.epoch {
			t.Errorf("epoch at %v: %d, want %d", tt.at, got, tt.epoch)
		}
	}
	if got, want := devnet.EpochStart(3), time.Unix(1003, 0); !got.Equal(want) {
		t.Errorf("start of epoch 3: %v, want %v", got, want)
	}
	if got := gnosis.EpochDuration(); got != 80*time.Second {
		t.Errorf("epoch duration %v, want 80s", got)
	}
}

// A peer can claim any head slot, and a fork can be at FarFutureEpoch.
func TestClockSaturates(t *testing.T) {
	c := eth2.Clock{Genesis: time.Unix(1606824023, 0), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}
	for _, s := range []eth2.Slot{1 << 62, 1<<64 - 1} {
		if got := c.SlotStart(s); got.Year() < 2300 {
			t.Errorf("slot %d starts at %v: want a distant time", s, got)
		}
	}
	for _, e := range []eth2.Epoch{1 << 59, 1 << 62, eth2.FarFutureEpoch} {
		if got := c.EpochStart(e); got.Year() < 2300 {
			t.Errorf("epoch %d starts at %v: want a distant time", e, got)
		}
	}
}

func TestClockScale(t *testing.T) {
	for slot, want := range map[time.Duration]time.Duration{
		12 * time.Second: 10 * time.Minute,
		24 * time.Second: 10 * time.Minute,
		6 * time.Second:  5 * time.Minute,
		time.Second:      50 * time.Second,
	} {
		c := eth2.Clock{SlotDuration: slot, SlotsPerEpoch: 32}
		if got := c.Scale(10 * time.Minute); got != want {
			t.Errorf("10 minutes in slots of %v: %v, want %v", slot, got, want)
		}
	}
}
