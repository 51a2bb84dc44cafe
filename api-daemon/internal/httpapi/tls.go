package httpapi

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// Certificate is a certificate and key from files that can be read again while the
// server runs.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	pair              atomic.Pointer[tls.Certificate]
}

// LoadCertificate reads the pair. The error names the files and says what is wrong:
// not readable, not PEM, or a key of another certificate.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) || now.Before(pair.Leaf.NotBefore) {
		c.log.Warn("the TLS certificate is not valid now", "file", c.certFile, "from", pair.Leaf.NotBefore, "until", pair.Leaf.NotAfter)
	}
	c.pair.Store(&pair)
	return nil
}

// Reload reads the files again, for SIGHUP. A broken pair is logged and the old one
// stays in use.
func (c *Certificate) Reload() {
	if err := c.load(); err != nil {
		c.log.Error("the renewed TLS certificate cannot be used, the old one stays", "err", err)
		return
	}
	c.log.Info("TLS certificate read again", "file", c.certFile, "until", c.pair.Load().Leaf.NotAfter)
}

// Config returns a server configuration that always uses the latest pair.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.pair.Load(), nil
		},
	}
}
