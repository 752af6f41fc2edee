package clickhouse

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// DefaultDatabase is that of a URL without one.
const DefaultDatabase = "valtrack"

// minTTL is more than what a copy may be behind for a while.
const minTTL = 24 * time.Hour

// Config is where the datasets are copied to. The zero value is nowhere.
type Config struct {
	// URL is http[s]://[user@]host[:port][/database][?cluster=NAME].
	URL string
	// PasswordFile has the user's password, and is read at each connection. Password is used
	// when there is no file.
	PasswordFile, Password string
	// CA is a PEM file of the authorities to trust instead of the system's; empty for those.
	CA string
	// TTL is the age, by their commit, at which the server drops rows; 0 keeps all.
	TTL time.Duration
}

// target is a parsed Config.
type target struct {
	Config
	endpoint string // without what is secret
	user     string
	database string
	cluster  string // empty for tables of one server
	tls      *tls.Config
}

// name is what a database or a cluster may be called: it is part of statements.
var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// Check reports what is wrong with the settings; it connects to nothing.
func (c Config) Check() error {
	_, err := c.target()
	return err
}

func (c Config) target() (*target, error) {
	t := &target{Config: c}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil: // which quotes the URL, password and all
		return nil, errors.New("not a URL: want http[s]://[user@]host[:port][/database]")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Fragment != "":
		return nil, fmt.Errorf("%q: want http[s]://[user@]host[:port][/database], the HTTP interface of ClickHouse, such as http://127.0.0.1:8123", u.Redacted())
	}
	if _, ok := u.User.Password(); ok {
		return nil, fmt.Errorf("%q has a password, which others can see in the process list: give it in a file or in the environment", u.Redacted())
	}
	t.user = u.User.Username()
	if t.user == "" && (c.Password != "" || c.PasswordFile != "") {
		return nil, fmt.Errorf("%q: a password needs a user: want %s://USER@%s", u.Redacted(), u.Scheme, u.Host)
	}
	t.database = strings.Trim(u.Path, "/")
	if t.database == "" {
		t.database = DefaultDatabase
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", u.Redacted(), err)
	}
	for key := range query {
		if key != "cluster" {
			return nil, fmt.Errorf("%q: unknown parameter %q, only cluster is known", u.Redacted(), key)
		}
	}
	t.cluster = query.Get("cluster")
	for _, word := range []string{t.database, t.cluster} {
		if word != "" && !name.MatchString(word) {
			return nil, fmt.Errorf("%q: %q is no name of letters, digits, _ and -", u.Redacted(), word)
		}
	}
	if c.TTL < 0 || c.TTL > 0 && c.TTL < minTTL {
		return nil, fmt.Errorf("rows that are dropped after %v: want at least %v, or 0 to keep all", c.TTL, minTTL)
	}
	t.endpoint = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}).String()
	if c.CA != "" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q: CAs have no effect without https", u.Redacted())
	}
	if t.tls, err = c.tlsConfig(); err != nil {
		return nil, err
	}
	_, err = t.password()
	return t, err
}

func (c Config) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA == "" {
		return config, nil
	}
	pem, err := readSmall(c.CA)
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", c.CA)
	}
	return config, nil
}

// password reads the file anew, so that a password can be changed without a restart.
func (t *target) password() (string, error) {
	if t.PasswordFile == "" {
		return t.Password, nil
	}
	data, err := readSmall(t.PasswordFile)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(data), "\r\n")
	if password == "" || strings.ContainsAny(password, "\r\n") {
		return "", fmt.Errorf("%s: want the password in one line, and nothing else", t.PasswordFile)
	}
	return password, nil
}

// maxFile bounds the files of passwords and authorities, in bytes.
const maxFile = 1 << 20

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, err
}
