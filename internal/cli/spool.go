package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/spool"
)

// Flags of the sentry's spool.
const (
	flagSpoolSize        = "spool-size"
	flagWithoutConsumers = "publish-without-consumers"
	defaultSpoolSize     = "1GiB"
)

func spoolFlags() []cli.Flag {
	return []cli.Flag{
		text(flagSpoolSize, defaultSpoolSize, "maximum disk space for events that NATS has not accepted yet; beyond it, the oldest are dropped"),
		toggle(flagWithoutConsumers, "publish even while the stream has no consumer: such events are dropped"),
	}
}

// spoolConfig checks the size of the spool. Errors are of wrong usage.
func (in invocation) spoolConfig(cfg *app.SentryConfig) error {
	value := in.cmd.String(flagSpoolSize)
	size, err := parseSize(value)
	if err != nil {
		return usagef("--%s %q: %w", flagSpoolSize, value, err)
	}
	if size < spool.MinSize {
		return usagef("--%s %q: want at least %d MiB", flagSpoolSize, value, spool.MinSize>>20)
	}
	cfg.SpoolSize = size
	return nil
}

// parseSize reads a number of bytes, such as 64MiB, 1.5 GiB or 1000000.
func parseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "BKMGTi ")
	unit, ok := map[string]float64{
		"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
		"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	}[strings.TrimSpace(text[len(number):])]
	n, err := strconv.ParseFloat(number, 64)
	if n *= unit; err != nil || !ok || !(n >= 0 && n < math.MaxInt64) {
		return 0, fmt.Errorf("want a number of bytes, such as 512MiB or 1GiB")
	}
	return int64(n), nil
}
