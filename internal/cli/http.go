package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/api"
	"github.com/chainbound/valtrack/internal/app"
)

// Flags of the API.
const (
	flagHTTP     = app.OptHTTP
	flagAPIKeys  = app.OptAPIKeys
	flagHTTPCert = "http-cert"
	flagHTTPKey  = "http-key"
	flagOrigin   = "http-origin"
	flagProxy    = "http-proxy"
	flagHTTPRate = "http-rate"
	flagScope    = "scope"
)

// defaultHTTPRate is for a page that loads ten answers, and for scripts.
const defaultHTTPRate = 20

func httpFlags() []cli.Flag {
	return []cli.Flag{
		text(flagHTTP, app.DefaultHTTP, "address for the HTTP API and dashboard; '' for none"),
		text(flagAPIKeys, "", "file of API keys that unlock addresses, see 'valtrack check key'; reread when it changes"),
		text(flagHTTPCert, "", "PEM certificate, for HTTPS"),
		text(flagHTTPKey, "", "PEM private key of the certificate"),
		texts(flagOrigin, nil, "origin whose pages may read the API, such as https://example.org, repeatable; * means any"),
		texts(flagProxy, nil, "address or CIDR of a proxy whose X-Forwarded-For is believed, repeatable"),
		number(flagHTTPRate, defaultHTTPRate, "API requests per second allowed per address without a key; 0 means no limit"),
	}
}

// httpConfig checks the flags of the API. Errors are of wrong usage.
func (in invocation) httpConfig() (cfg app.HTTPConfig, err error) {
	cfg.Address, cfg.Default = in.cmd.String(flagHTTP), !in.cmd.IsSet(flagHTTP)
	if cfg.Address != "" {
		if _, _, err := net.SplitHostPort(cfg.Address); err != nil {
			return cfg, usagef("--%s %q: want an address with a port, such as %s, or '' for none", flagHTTP, cfg.Address, app.DefaultHTTP)
		}
	}
	cfg.KeysFile, cfg.Certificate, cfg.Key = in.cmd.String(flagAPIKeys), in.cmd.String(flagHTTPCert), in.cmd.String(flagHTTPKey)
	if (cfg.Certificate == "") != (cfg.Key == "") {
		return cfg, usagef("--%s and --%s: give both, or none", flagHTTPCert, flagHTTPKey)
	}
	rate := in.cmd.Int(flagHTTPRate)
	if rate < 0 {
		return cfg, usagef("--%s %d: want a number of requests per second, or 0 for no limit", flagHTTPRate, rate)
	}
	cfg.Rate = float64(rate)
	for _, origin := range in.cmd.StringSlice(flagOrigin) {
		u, err := url.Parse(origin)
		if origin != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != "") {
			return cfg, usagef("--%s %q: want an origin such as https://example.org, without a path, or *", flagOrigin, origin)
		}
		cfg.Origins = append(cfg.Origins, origin)
	}
	for _, text := range in.cmd.StringSlice(flagProxy) {
		p, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); err != nil && addrErr == nil {
			p, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return cfg, usagef("--%s %q: want an address or a CIDR such as 10.0.0.0/8", flagProxy, text)
		}
		cfg.Proxies = append(cfg.Proxies, p)
	}
	return cfg, nil
}

// checkHTTP reads the keys and certificates, binds the address and frees it again.
func (in invocation) checkHTTP(context.Context) (string, error) {
	cfg, err := in.httpConfig()
	if err != nil {
		return "", err
	}
	if cfg.Address == "" {
		return "the API is not served", nil
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := api.Listen(cfg.Config)
	if held, ok := in.inUse(err, app.DirUse{Consumer: true}); ok {
		return cfg.Address + " is " + held, nil
	}
	if errors.Is(err, syscall.EADDRINUSE) && cfg.Default {
		return "", checkWarning(fmt.Sprintf("%s is in use: the API and the dashboard would not be served; give --%s ADDR for another address, or --%s '' for none", cfg.Address, flagHTTP, flagHTTP))
	}
	if err != nil {
		return "", app.HTTPError(err)
	}
	detail := s.Addr() + " is free"
	if cfg.KeysFile != "" {
		detail += ", keys in " + cfg.KeysFile
	}
	return detail, s.Close()
}

func (p *program) checkKeyCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "key", Usage: "make a key for the HTTP API", ArgsUsage: "NAME",
		Description: "Prints a new random key for its user, and the line for the file given by --" + flagAPIKeys + ",\n" +
			"which has the key's hash only. To revoke the key, add the word revoked to its line.",
		Flags: []cli.Flag{jsonFlag(), text(flagScope, api.ScopeFull, "full: with addresses; public: without, but with a rate limit of its own")},
	}, runCheckKey)
}

// keyView is what check key prints.
type keyView struct {
	Key  string `json:"key"`
	Line string `json:"line"`
}

func (v keyView) writeText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "key for its user (not stored anywhere):\n%s\n\nline for the --%s file:\n%s\n", v.Key, flagAPIKeys, v.Line)
	return err
}

func runCheckKey(_ context.Context, in invocation) error {
	name, err := in.oneArgument("name of the key")
	if err != nil {
		return err
	}
	scope := in.cmd.String(flagScope)
	if !slices.Contains([]string{api.ScopeFull, api.ScopePublic}, scope) {
		return usagef("--%s %q: want %s or %s", flagScope, scope, api.ScopeFull, api.ScopePublic)
	}
	if name == "" || strings.ContainsAny(name, " \t\n\r") {
		return usagef("name %q: want one word, such as the name of the key's user", name)
	}
	key, line, err := api.NewKey(name, scope)
	if err != nil {
		return err
	}
	view := keyView{key, line}
	if in.cmd.Bool(flagJSON) {
		return writeJSON(in.stdout, view)
	}
	return view.writeText(in.stdout)
}
