package api

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
)

// certificate is that of the server, which is read again when its files change: connections
// from then on have the new one.
type certificate struct {
	watchedFiles
	current atomic.Pointer[tls.Certificate]
}

func openCertificate(certFile, keyFile string, report func(error)) (*certificate, error) {
	c := &certificate{}
	name := fmt.Sprintf("certificate %s, key %s", certFile, keyFile)
	c.watchedFiles = watchedFiles{paths: []string{certFile, keyFile}, load: c.load, report: func(err error) {
		if err != nil {
			err = fmt.Errorf("%s: %w; the previous one stays in use", name, err)
		}
		report(err)
	}}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

func (c *certificate) load(contents [][]byte) error {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err == nil {
		c.current.Store(&pair)
	}
	return err
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
		MinVersion:     tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	}
}
