package httpapi

import (
	"crypto/tls"
	"net/http"
	"time"
)

const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeader         = 1 << 20 // more than maxQuery, so that a longer query gets a proper answer
)

// NewServer returns a server with limits for slow and oversized requests. With a TLS
// configuration it is to be started with ServeTLS(listener, "", ""), otherwise with
// Serve. Answers have no common deadline, because calls that wait may take minutes; each
// write has one of its own.
func NewServer(h http.Handler, c *tls.Config) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         c,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
	}
}
