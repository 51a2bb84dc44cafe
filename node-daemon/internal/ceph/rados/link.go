package rados

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// link is the connections of one purpose or more, from their opening until the last call
// on them has returned. Connections of one link live and die together.
type link struct {
	conns   map[purpose]*gorados.Conn
	step    func(string) // of Options
	clients []string     // addresses of those that change anything, sorted

	mu      sync.Mutex
	users   int
	retired bool
	ended   chan struct{} // closed when the connections are
}

var errClosed = errors.New("the connection to Ceph is closed")

// use takes a reference, unless the link is retired.
func (l *link) use() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired {
		return false
	}
	l.users++
	return true
}

// leave gives a reference back. The last one ends a retired link.
func (l *link) leave() {
	l.mu.Lock()
	l.users--
	last := l.retired && l.users == 0
	l.mu.Unlock()
	if last {
		l.end()
	}
}

// retire lets no further call begin. The connections end with the last one.
func (l *link) retire() {
	l.mu.Lock()
	last := !l.retired && l.users == 0
	l.retired = true
	l.mu.Unlock()
	if last {
		go l.end() // librados says good-bye to monitors that may hang
	}
}

func (l *link) end() {
	for _, conn := range l.conns {
		conn.Shutdown()
	}
	close(l.ended)
}

// dial opens a link. It blocks as long as librados does: some multiples of monTimeout.
func dial(o Options, purposes ...purpose) (*link, error) {
	l := &link{conns: map[purpose]*gorados.Conn{}, step: o.Step, ended: make(chan struct{})}
	type dialled struct {
		p    purpose
		conn *gorados.Conn
		err  error
	}
	all := make(chan dialled, len(purposes))
	for _, p := range purposes {
		go func() {
			conn, err := connect(o, p)
			all <- dialled{p, conn, err}
		}()
	}
	var failed error
	for range purposes {
		if d := <-all; d.err != nil {
			failed = d.err
		} else {
			l.conns[d.p] = d.conn
		}
	}
	if failed == nil {
		failed = l.name()
	}
	if failed != nil {
		l.end()
		return nil, failed
	}
	return l, nil
}

// name finds the addresses out.
func (l *link) name() error {
	for p, conn := range l.conns {
		text, err := conn.GetAddrs()
		if err != nil {
			return fmt.Errorf("ask librados for its address: %w", refusal(err, ""))
		}
		address, err := plainAddress(text)
		if err != nil {
			return err
		}
		if p != manage {
			l.clients = append(l.clients, address)
		}
	}
	slices.Sort(l.clients)
	return nil
}

func connect(o Options, p purpose) (*gorados.Conn, error) {
	user := o.User
	if user == "" {
		user = "admin"
	}
	conn, err := gorados.NewConnWithUser(strings.TrimPrefix(user, "client."))
	if err != nil {
		return nil, refusal(err, "")
	}
	if err := configure(conn, o, p); err != nil {
		conn.Shutdown()
		return nil, err
	}
	if err := conn.Connect(); err != nil {
		conn.Shutdown()
		return nil, fmt.Errorf("connect to Ceph as client.%s: %w", user, refusal(err, ""))
	}
	return conn, nil
}

func configure(conn *gorados.Conn, o Options, p purpose) error {
	var err error
	if o.Conf == "" {
		err = conn.ReadDefaultConfigFile()
	} else {
		err = conn.ReadConfigFile(o.Conf)
	}
	if err != nil {
		return errs.Unavailablef("read Ceph's configuration %q: %w", o.Conf, refusal(err, ""))
	}
	for name, value := range p.settings(o) {
		if err := conn.SetConfigOption(name, value); err != nil {
			return fmt.Errorf("set %s of librados: %w", name, refusal(err, ""))
		}
	}
	return nil
}

// port hands out the link of its purposes, and opens one when there is none.
type port struct {
	options  Options
	purposes []purpose

	mu      sync.Mutex
	link    *link
	old     []*link // on which calls may be under way still
	opening *opening
	closed  bool
}

// opening is an attempt under way, never more than one at a time.
type opening struct {
	done chan struct{}
	err  error // valid after done
}

// acquire returns the link with a reference taken.
func (p *port) acquire(ctx context.Context) (*link, error) {
	for {
		l, o, err := p.look()
		if l != nil || err != nil {
			return l, err
		}
		select {
		case <-o.done:
			if o.err != nil {
				return nil, o.err
			}
		case <-ctx.Done():
			return nil, errs.Unavailablef("Ceph does not answer: %w", context.Cause(ctx))
		}
	}
}

func (p *port) look() (*link, *opening, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, nil, errs.Unavailablef("%w", errClosed)
	case p.link != nil && p.link.use():
		return p.link, nil, nil
	case p.opening == nil:
		p.opening = &opening{done: make(chan struct{})}
		go p.open(p.opening)
	}
	return nil, p.opening, nil
}

func (p *port) open(o *opening) {
	l, err := dial(p.options, p.purposes...)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		o.err = errs.New(errs.Unavailable, "%w", err)
	case p.closed:
		l.retire()
	default:
		p.link = l
	}
	p.opening = nil
	close(o.done)
}

// drop makes the calls to come open a new link, if l is still the present one.
func (p *port) drop(l *link) {
	p.mu.Lock()
	if p.link == l {
		p.link = nil
		p.old = append(slices.DeleteFunc(p.old, (*link).over), l)
	}
	p.mu.Unlock()
	l.retire()
}

// over reports whether the connections have ended.
func (l *link) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// is reports whether one of the link's clients is among those.
func (l *link) is(clients []string) bool {
	return slices.ContainsFunc(l.clients, func(c string) bool { return slices.Contains(clients, c) })
}

// quiet waits until no call is under way as one of those clients.
func (p *port) quiet(ctx context.Context, clients []string) error {
	p.mu.Lock()
	present, old := p.link, slices.Clone(p.old)
	p.mu.Unlock()
	if present != nil && present.is(clients) {
		return errs.Conflictf("this daemon still acts as Ceph clients %q", present.clients)
	}
	for _, l := range old {
		if !l.is(clients) {
			continue
		}
		select {
		case <-l.ended:
		case <-ctx.Done():
			return errs.Unavailablef("calls as Ceph clients %q have not returned: %w", l.clients, context.Cause(ctx))
		}
	}
	return nil
}

// close ends the port. It returns a channel that is closed when the connections are.
func (p *port) close() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.link == nil {
		none := make(chan struct{})
		close(none)
		return none
	}
	p.link.retire()
	return p.link.ended
}
