package app

import (
	"fmt"
)

// Names of options that messages of this package mention. The command line has
// options of these names.
const (
	OptActiveValidators = "active-validators"
	OptBeaconAPI        = "beacon-api"
	OptClickHouse       = "clickhouse"
	OptMeanBalance      = "mean-balance"
	OptDataDir          = "data-dir"
	OptGeo              = "geo"
	OptAPIKeys          = "api-keys"
	OptHTTP             = "http"
	OptListen           = "listen"
	OptMetrics          = "metrics"
	OptMirror           = "mirror"
	OptName             = "name"
	OptNetwork          = "network"
	OptNetworkDir       = "network-dir"
	OptNATS             = "nats"
	OptNATSDomain       = "nats-domain"
	OptStream           = "stream"
	OptSegmentRows      = "segment-rows"
	OptForget           = "forget"
	OptPort             = "port"
	OptQUICPort         = "quic-port"
)

// ConfigError is an error that the user can fix by changing options, the
// environment, the configuration file or what they name: trying again without such
// a change fails in the same way.
type ConfigError struct{ err error }

func (e *ConfigError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.err }

// ConfigErrorf makes a ConfigError, formatted as by fmt.Errorf.
func ConfigErrorf(format string, args ...any) error {
	return &ConfigError{fmt.Errorf(format, args...)}
}

// AsConfigError marks err as a ConfigError; nil stays nil.
func AsConfigError(err error) error {
	if err == nil {
		return nil
	}
	return &ConfigError{err}
}
