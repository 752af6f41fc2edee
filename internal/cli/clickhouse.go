package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/clickhouse"
)

// Flags of the copy in ClickHouse.
const (
	flagClickHouse       = app.OptClickHouse
	flagClickHouseSecret = "clickhouse-secret"
	flagClickHouseCA     = "clickhouse-ca"
	flagClickHouseTTL    = "clickhouse-ttl"
)

// clickhousePassword is the environment variable of the password. It is no option: others see
// those of a process.
const clickhousePassword = variablePrefix + "CLICKHOUSE_PASSWORD"

func clickhouseFlags() []cli.Flag {
	return []cli.Flag{
		text(flagClickHouse, "", "copy the datasets to this ClickHouse: http[s]://[user@]host[:port][/database][?cluster=NAME]"),
		text(flagClickHouseSecret, "", "file with the ClickHouse password; or set "+clickhousePassword),
		text(flagClickHouseCA, "", "PEM file of the CAs to trust for ClickHouse instead of the system's"),
		text(flagClickHouseTTL, "0", "age at which ClickHouse drops rows, such as 365d; 0 leaves its tables' TTL alone"),
	}
}

// clickhouseConfig checks these flags. Errors are of wrong usage.
func (in invocation) clickhouseConfig() (cfg clickhouse.Config, err error) {
	cfg = clickhouse.Config{URL: in.cmd.String(flagClickHouse), PasswordFile: in.cmd.String(flagClickHouseSecret), CA: in.cmd.String(flagClickHouseCA)}
	if cfg.TTL, err = parseAge(flagClickHouseTTL, in.cmd.String(flagClickHouseTTL)); err != nil {
		return cfg, usagef("%w, or 0", err)
	}
	if cfg.URL == "" {
		if cfg.PasswordFile != "" || cfg.CA != "" || cfg.TTL != 0 {
			return cfg, usagef("--%s, --%s and --%s: give --%s too, or none of them", flagClickHouseSecret, flagClickHouseCA, flagClickHouseTTL, flagClickHouse)
		}
		return cfg, nil
	}
	cfg.Password = os.Getenv(clickhousePassword)
	if cfg.Password != "" && cfg.PasswordFile != "" {
		return cfg, usagef("--%s and %s: give one of them", flagClickHouseSecret, clickhousePassword)
	}
	if err := cfg.Check(); err != nil {
		return cfg, usagef("--%s, --%s, --%s, --%s: %w", flagClickHouse, flagClickHouseSecret, flagClickHouseCA, flagClickHouseTTL, err)
	}
	return cfg, nil
}

// checkClickHouse connects, and changes nothing.
func (in invocation) checkClickHouse(ctx context.Context) (string, error) {
	cfg, err := in.clickhouseConfig()
	if err != nil {
		return "", err
	}
	if cfg.URL == "" {
		return "not given: the datasets are not copied", nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	found, err := clickhouse.Probe(ctx, cfg)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flagClickHouse, err)
	}
	return found, nil
}
