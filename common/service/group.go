package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"
)

// DefaultStopTimeout is how long all services together may take to stop.
const DefaultStopTimeout = 20 * time.Second

// Runner is a loop that works until its context ends and then returns, after it has
// undone what must not stay. An error, and a return before the context ends, stop
// the whole group.
type Runner interface {
	Run(ctx context.Context) error
}

// RunFunc is a function as a Runner.
type RunFunc func(ctx context.Context) error

// Run calls the function.
func (f RunFunc) Run(ctx context.Context) error { return f(ctx) }

// Readier is a Runner that needs some time until it does its job.
type Readier interface {
	// Ready is closed when it does; always the same channel.
	Ready() <-chan struct{}
}

// Group runs services. Set the fields and call Add before Run.
type Group struct {
	Log         *slog.Logger  // nil: slog.Default()
	StopTimeout time.Duration // 0: DefaultStopTimeout
	// OnReady is called once, when every service that is a Readier is ready.
	OnReady func()
	// OnStop is called once, before the first service is stopped.
	OnStop func()

	services []*member
}

type member struct {
	name   string
	run    Runner
	cancel context.CancelFunc
	done   chan struct{} // closed after err is set
	err    error
}

// Add appends a service. Services are started in the order of Add and stopped in
// reverse: what others need comes first.
func (g *Group) Add(name string, r Runner) {
	g.services = append(g.services, &member{name: name, run: r, done: make(chan struct{})})
}

// Run starts the services, waits until ctx ends or one of them fails, stops them one
// by one in reverse order and returns what the first one failed with, joined with
// what went wrong while stopping. Services that do not stop in time are named in the
// error and left behind: the process is expected to exit.
func (g *Group) Run(ctx context.Context) error {
	ended := make(chan *member, len(g.services))
	for _, m := range g.services {
		// Not derived from ctx: a service stays until those that need it are gone.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		m.cancel = cancel
		g.log().Debug("service starts", "service", m.name)
		go m.serve(own, ended)
	}
	first := g.wait(ctx, ended)
	if g.OnStop != nil {
		g.OnStop()
	}
	return errors.Join(first.failure(), g.stop(first))
}

// wait returns when ctx ends (nil) or a service does.
func (g *Group) wait(ctx context.Context, ended <-chan *member) *member {
	for i := 0; i < len(g.services); {
		r, ok := g.services[i].run.(Readier)
		if !ok {
			i++
			continue
		}
		select {
		case <-r.Ready():
			g.log().Debug("service is ready", "service", g.services[i].name)
			i++
		case <-ctx.Done():
			return nil
		case m := <-ended:
			return m
		}
	}
	if g.OnReady != nil {
		g.OnReady()
	}
	select {
	case <-ctx.Done():
		return nil
	case m := <-ended:
		return m
	}
}

// failure is the error of a service that ended although nobody asked it to; nil for
// none.
func (m *member) failure() error {
	if m == nil {
		return nil
	}
	if m.err == nil {
		return fmt.Errorf("service %s ended by itself", m.name)
	}
	return fmt.Errorf("service %s: %w", m.name, m.err)
}

// stop ends the services in reverse order. After the time is over it cancels all
// that are left and does not wait for them.
func (g *Group) stop(first *member) error {
	timeout := g.StopTimeout
	if timeout <= 0 {
		timeout = DefaultStopTimeout
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	var failures []error
	for i := len(g.services) - 1; i >= 0; i-- {
		m := g.services[i]
		m.cancel()
		select {
		case <-m.done:
			if m != first {
				failures = append(failures, m.stopFailure())
			}
		case <-timer.C:
			return errors.Join(append(failures, g.abandon(i, timeout))...)
		}
	}
	return errors.Join(failures...)
}

// stopFailure is the error of a service that was asked to end; having been asked is
// none.
func (m *member) stopFailure() error {
	if m.err == nil || errors.Is(m.err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("stop service %s: %w", m.name, m.err)
}

func (g *Group) abandon(last int, timeout time.Duration) error {
	var names []string
	for i := last; i >= 0; i-- {
		m := g.services[i]
		m.cancel()
		select {
		case <-m.done:
		default:
			names = append(names, m.name)
		}
	}
	return fmt.Errorf("not stopped within %v: %s", timeout, strings.Join(names, ", "))
}

// serve runs the service; a panic is its error.
func (m *member) serve(ctx context.Context, ended chan<- *member) {
	defer func() {
		if p := recover(); p != nil {
			m.err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		close(m.done)
		ended <- m
	}()
	m.err = m.run.Run(ctx)
}

func (g *Group) log() *slog.Logger {
	if g.Log != nil {
		return g.Log
	}
	return slog.Default()
}

// PanicError is the error of a service that panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// Error holds the stack: it is logged once, at the top, and nobody can ask later.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }
