package cli

import (
	"strconv"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

// changes reports whether --changes is given, with a time or without.
func (in invocation) changes() bool {
	text := in.cmd.String(flagChanges)
	on, err := strconv.ParseBool(text)
	return on || text != "" && err != nil
}

// changesPeriod is the time of --changes, as in --changes=24h, or --changes 24h, where it is an
// argument; empty without one. It returns how many arguments it is.
func (in invocation) changesPeriod() (period string, arguments int) {
	text := in.cmd.String(flagChanges)
	switch on, err := strconv.ParseBool(text); {
	case on:
		return in.cmd.Args().First(), min(1, in.cmd.Args().Len())
	case err == nil:
		return "", 0
	}
	return text, 0
}

// reportRange is the time to report on; zero for all.
func (in invocation) reportRange(now time.Time) (out dataset.Range, err error) {
	since, asTyped := in.cmd.String(flagSince), flagSince
	if period, _ := in.changesPeriod(); period != "" {
		if since != "" {
			return out, usagef("--%s %s and --%s: give one or the other", flagChanges, period, flagSince)
		}
		since, asTyped = period, flagChanges
	}
	from, to := in.cmd.String(flagFrom), in.cmd.String(flagTo)
	if since != "" && from+to != "" {
		if asTyped == flagChanges {
			asTyped += " " + since
		}
		return out, usagef("--%s cannot be combined with --%s or --%s", asTyped, flagFrom, flagTo)
	}
	if in.changes() && since == "" && from == "" {
		if to != "" {
			return out, usagef("--%s with --%s needs --%s too", flagChanges, flagTo, flagFrom)
		}
		since = defaultChanges
	}
	if since != "" {
		return sinceRange(asTyped, since, now)
	}
	if out.From, err = parseTime(flagFrom, from); err != nil {
		return out, err
	}
	if out.To, err = parseTime(flagTo, to); err != nil {
		return out, err
	}
	switch {
	case out.From > 0 && out.To > 0 && out.To <= out.From:
		return out, usagef("--%s %s is not after --%s %s", flagTo, to, flagFrom, from)
	case out.From > now.UnixMilli():
		return out, usagef("--%s %s is in the future", flagFrom, from)
	}
	return out, nil
}

// sinceRange is the time from an age until now.
func sinceRange(flag, text string, now time.Time) (out dataset.Range, err error) {
	age, err := parseAge(flag, text)
	switch {
	case err != nil:
		return out, err
	case age <= 0:
		return out, usagef("--%s %q: %s", flag, text, wantAge)
	}
	return dataset.Range{From: max(1, now.Add(-age).UnixMilli())}, nil
}
