package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/eth2/network"
)

// Names of flags that more than one file asks for.
const (
	flagConfig     = "config"
	flagLogLevel   = "log-level"
	flagLogFormat  = "log-format"
	flagNATS       = app.OptNATS
	flagNATSURL    = "nats-url" // the earlier program's name for nats
	flagDataDir    = app.OptDataDir
	flagNetwork    = "network"
	flagNetworkDir = "network-dir"
	flagBootnode   = "bootnode"
	flagMetrics    = app.OptMetrics
	flagJSON       = "json"
)

// Defaults of the command line.
const (
	defaultLogLevel = "info"
	defaultNetwork  = "mainnet"
	defaultDataDir  = "./data"
)

// globalFlags work before and after the command. The first two and their lines
// are part of the contract.
func globalFlags() []cli.Flag {
	nats := text(flagNATS, "", `NATS server URL (needs JetStream), or "embedded" for one in this process`, "n", flagNATSURL)
	nats.Sources = variables(variableOf(flagNATS), "NATS_URL")
	return []cli.Flag{
		text(flagLogLevel, defaultLogLevel, "log level", "l"),
		nats,
		text(flagLogFormat, "auto", "log format: auto, text or json"),
		text(flagConfig, "", "YAML file with options"),
		text(flagDataDir, defaultDataDir, "directory for identity, logs and datasets"),
		text(flagNetwork, defaultNetwork, strings.Join(network.Names(), ", ")+" or "+devnetName),
		text(flagNetworkDir, "", "directory of a network's config.yaml, genesis and bootnodes"),
		texts(flagBootnode, nil, "ENR to start from, repeatable; replaces the network's list"),
		text(flagMetrics, "", "address for Prometheus metrics and health checks, such as 127.0.0.1:9110"),
		text(flagUmask, defaultUmask, "permissions withheld from others on written files; 027 lets the group read"),
	}
}

// local keeps flags of a command from its subcommands, to which they mean nothing.
func local(flags []cli.Flag) []cli.Flag {
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.StringFlag:
			f.Local = true
		case *cli.StringSliceFlag:
			f.Local = true
		case interface{ keepLocal() }:
			f.keepLocal()
		}
	}
	return flags
}

func text(name, value, usage string, aliases ...string) *cli.StringFlag {
	f := &cli.StringFlag{Name: name, Aliases: aliases, Value: value, Usage: usage, Sources: variables(variableOf(name))}
	f.SetStringer(flagLine)
	return f
}

func texts(name string, value []string, usage string) *cli.StringSliceFlag {
	f := &cli.StringSliceFlag{Name: name, Value: value, Usage: usage, Sources: variables(variableOf(name))}
	f.SetStringer(flagLine)
	return f
}

func number(name string, value int, usage string) cli.Flag {
	return checked(&cli.IntFlag{Name: name, Value: value, Usage: usage, Sources: variables(variableOf(name))}, wantNumber)
}

// wide is a number that may need 64 bits, such as an epoch.
func wide(name string, value uint64, usage string) cli.Flag {
	return checked(&cli.Uint64Flag{Name: name, Value: value, Usage: usage, Sources: variables(variableOf(name))}, wantNumber+", 0 or more")
}

const wantNumber = "a whole number"

func duration(name string, value time.Duration, usage string) cli.Flag {
	return checked(&cli.DurationFlag{Name: name, Value: value, Usage: usage, Sources: variables(variableOf(name))}, "a duration such as 10s")
}

func toggle(name, usage string) cli.Flag { return toggleWithDefault(name, usage, "") }

// toggleOrAge is a switch that may have an age, as in --changes=24h. Its text is "" or a boolean
// where it has none.
func toggleOrAge(name, usage string) cli.Flag {
	valid := func(text string) error {
		if _, err := strconv.ParseBool(text); err == nil {
			return nil
		}
		_, err := parseAge(name, text)
		return err
	}
	f := checked(&cli.StringFlag{Name: name, Usage: usage, Validator: valid, Sources: variables(variableOf(name))}, "true, false or an age such as 90d, 36h or 15m")
	f.optional = true
	return f
}

// toggleWithDefault is off by default, which help describes in other words.
func toggleWithDefault(name, usage, defaultText string) cli.Flag {
	return checked(&cli.BoolFlag{Name: name, Usage: usage, DefaultText: defaultText, Sources: variables(variableOf(name))}, "true or false")
}

// switchedOn is on by default.
func switchedOn(name, usage string) cli.Flag {
	return checked(&cli.BoolFlag{Name: name, Value: true, Usage: usage, Sources: variables(variableOf(name))}, "true or false")
}

// jsonFlag is on every command that prints a result.
func jsonFlag() cli.Flag { return toggle(flagJSON, "print JSON") }
