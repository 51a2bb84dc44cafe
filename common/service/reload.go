package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Reloads calls, at every SIGHUP, the functions that read something again: log
// files, certificates. It is a service of the daemon's group.
type Reloads struct {
	log     *slog.Logger
	signals chan os.Signal

	mu    sync.Mutex
	names []string
	funcs []func() error
}

// NewReloads listens for SIGHUP from now on; one that comes before Run is not lost.
// Signals that come while functions are called lead to one more round.
func NewReloads(log *slog.Logger) *Reloads {
	r := &Reloads{log: log, signals: make(chan os.Signal, 1)}
	signal.Notify(r.signals, syscall.SIGHUP)
	return r
}

// Add registers a function. What it returns is logged; what was read before stays in
// force then.
func (r *Reloads) Add(name string, reload func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, name)
	r.funcs = append(r.funcs, reload)
}

// Run waits for signals until ctx ends.
func (r *Reloads) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			// Not given up before: the default action of SIGHUP is to end the process.
			return nil
		case <-r.signals:
			if err := r.Reload(); err != nil {
				r.log.Error("reload failed; what was loaded before stays", "err", err)
			} else {
				r.log.Info("reloaded")
			}
		}
	}
}

// Reload calls all functions in the order of Add and joins their errors.
func (r *Reloads) Reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var failures []error
	for i, f := range r.funcs {
		if err := f(); err != nil {
			failures = append(failures, fmt.Errorf("reload %s: %w", r.names[i], err))
		}
	}
	return errors.Join(failures...)
}
