package cli

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/geo/hosting"
	"github.com/chainbound/valtrack/internal/prefix"
)

// ipView is `inspect ip --json`, with the names of the API's node row: what is not known is
// left out.
type ipView struct {
	IP          netip.Addr   `json:"ip"`
	Country     string       `json:"country,omitempty"`
	CountryCode string       `json:"country_code,omitempty"`
	Region      string       `json:"region,omitempty"`
	City        string       `json:"city,omitempty"`
	Latitude    *float64     `json:"latitude,omitempty"`
	Longitude   *float64     `json:"longitude,omitempty"`
	ASN         uint32       `json:"asn,omitempty"`
	ASName      string       `json:"as_name,omitempty"`
	Hosting     hosting.Type `json:"hosting,omitempty"`
	Cloud       string       `json:"cloud,omitempty"`
	Source      string       `json:"source"`
}

func inspectIP(_ context.Context, in invocation) error {
	arg, err := in.oneArgument("IP address")
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(arg)
	if err != nil {
		return usagef("IP address %q: want one such as 192.0.2.1 or 2001:db8::1, without port", arg)
	}
	places, err := geo.Open(in.cmd.StringSlice(flagGeo), slog.New(slog.DiscardHandler))
	if err != nil {
		return usagef("--%s: %w", flagGeo, err)
	}
	p := places.Find(ip)
	switch {
	case p != nil:
	case enr.GloballyReachable(prefix.Unwrap(ip)):
		return in.print(ipView{IP: ip, Source: "none: not in any database"})
	default:
		return in.print(ipView{IP: ip, Source: "none: not a public address"})
	}
	view := ipView{
		IP: ip, Country: p.Country, CountryCode: p.CountryCode, Region: p.Region, City: p.City,
		ASN: p.ASN, ASName: p.Organization, Hosting: p.Hosting, Cloud: p.Cloud, Source: p.Source,
	}
	if p.Located {
		view.Latitude, view.Longitude = &p.Latitude, &p.Longitude
	}
	return in.print(view)
}
