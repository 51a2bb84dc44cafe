// Package app wires pvc-api: configuration, view, rules, API, listener.
package app

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/auth"
	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/follow"
	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/httpapi"
	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/config"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/firewall"
	"github.com/parallelvirtualcluster/pvc/common/obs"
	"github.com/parallelvirtualcluster/pvc/common/service"
	"github.com/parallelvirtualcluster/pvc/common/version"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// Run is the program; see service.Program.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return service.Daemon[*config.API, config.Warning]{
		Name: "pvc-api", Env: config.APIEnv, File: config.APIFile, Load: config.LoadAPI, Serve: serve,
	}.Program(ctx, args, stdout, stderr)
}

// sessionTimeout is that of the listener's session: it bounds how long a take-over
// waits for the API of a dead host.
const sessionTimeout = 10 * time.Second

func serve(ctx context.Context, c *config.API, stdout io.Writer) error {
	log, err := obs.APILog(c, stdout)
	if err != nil {
		return err
	}
	defer log.Close()
	digest, err := c.ZooKeeper.Digest()
	if err != nil {
		return err
	}
	servers := config.Servers(c.Coordinators)
	reloads := service.NewReloads(log.Logger)
	reloads.Add("log", log.Reopen)

	v := view.New(view.Options{
		Dial: zk.Dial, Servers: servers, Timeout: c.ZooKeeper.SessionTimeout, Digest: digest.Reveal(), Logger: log.Logger,
	})
	handler, err := newHandler(c, v, log)
	if err != nil {
		return err
	}
	listener, err := newListener(c, handler, reloads, log)
	if err != nil {
		return err
	}

	group := service.Group{Log: log.Logger, OnReady: func() { _ = service.Notify(service.Ready) }, OnStop: func() { _ = service.Notify(service.Stopping) }}
	group.Add("memory", service.RunFunc(boundMemory))
	group.Add("reload", reloads)
	group.Add("view", v) // before the listener, which answers from it
	group.Add("listener", service.RunFunc(func(ctx context.Context) error {
		if !c.FollowPrimary {
			return listener.always(ctx)
		}
		return follow.Run(ctx, follow.Options{
			Node: c.Name, Dial: zk.Dial, Coord: coord.Options{Servers: servers, Timeout: sessionTimeout, Digest: digest.Reveal()},
			Ready: v.Sync, Open: listener.open, Serve: listener.serve, Logger: log.Logger,
		})
	}))
	return group.Run(ctx)
}

func newHandler(c *config.API, v *view.View, log *obs.Log) (http.Handler, error) {
	tokens := make([]auth.Token, len(c.Auth.Tokens))
	for i, t := range c.Auth.Tokens {
		tokens[i] = auth.Token{Description: t.Description, Secret: t.Token.Reveal()}
	}
	a, err := auth.New(auth.Options{Enabled: c.Auth.Enabled, Tokens: tokens, SecretKey: c.Auth.SecretKey.Reveal(), Secure: c.TLS.Enabled})
	if err != nil {
		return nil, err
	}
	rules := cluster.New(cluster.Options{CheckRule: firewall.Check, View: v, Policy: domxml.Policy{
		Unrestricted: c.VMPolicy == config.PolicyUnrestricted, FileDirectories: c.VMFileDirs, Emulators: domxml.DefaultEmulators(),
	}})
	metrics := newMetrics(v)
	return httpapi.New(httpapi.Options{
		Mirror: httpapi.FromView(v), Changes: rules, Auth: a, Log: log.Logger, Version: version.Version,
		Metrics: metrics.Handler(), MetricsOpen: c.MetricsWithoutToken, Observe: metrics.observe,
	}), nil
}

// listener opens the API's socket and answers on it.
type listener struct {
	address string
	server  func() *http.Server
	log     *obs.Log
}

func newListener(c *config.API, handler http.Handler, reloads *service.Reloads, log *obs.Log) (*listener, error) {
	l := &listener{address: c.Listen(), log: log, server: func() *http.Server { return httpapi.NewServer(handler, nil) }}
	if !c.TLS.Enabled {
		return l, nil
	}
	cert, err := httpapi.LoadCertificate(c.TLS.CertFile, c.TLS.KeyFile, log.Logger)
	if err != nil {
		return nil, err
	}
	reloads.Add("certificate", func() error { cert.Reload(); return nil })
	l.server = func() *http.Server { return httpapi.NewServer(handler, cert.Config()) }
	return l, nil
}

func (l *listener) open() (net.Listener, error) { return net.Listen("tcp", l.address) }

// graceful is how long requests under way get when the listener closes.
const graceful = 2 * time.Second

// serve answers until ctx ends.
func (l *listener) serve(ctx context.Context, ln net.Listener) error {
	s := l.server()
	// Calls that wait end with the listener, and say what goes on; changes go on by themselves.
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	stop := context.AfterFunc(ctx, func() {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceful)
		defer cancel()
		if s.Shutdown(sctx) != nil {
			_ = s.Close()
		}
	})
	defer stop()
	l.log.Info("the API is listening", "address", ln.Addr().String())
	var err error
	if s.TLSConfig != nil {
		err = s.ServeTLS(ln, "", "")
	} else {
		err = s.Serve(ln)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// always listens whoever is primary.
func (l *listener) always(ctx context.Context) error {
	ln, err := l.open()
	if err != nil {
		return err
	}
	return l.serve(ctx, ln)
}
