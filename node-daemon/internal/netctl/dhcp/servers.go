package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	osuser "os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Options are what Servers need.
type Options struct {
	Dir        string // for configuration files; made if it is not there
	LogDir     string // for the logs of dnsmasq; made if it is not there
	HookSocket string // path of the socket for the hook
	Self       string // path of the program that calls Hook if it is called HookName
	Program    string // path of dnsmasq; empty: /usr/sbin/dnsmasq
	User       string // for dnsmasq; empty: "dnsmasq"
	Leases     Leases
	Log        *slog.Logger // nil: slog.Default()
	// Hold, if set, is asked before a dnsmasq is started, also again after its end: for
	// as long as it returns true, none is. Those that run go on.
	Hold func() bool
}

// user is whom dnsmasq runs as.
type user struct{ uid, gid uint32 }

// Servers are the DHCP servers of a host. Make them with New.
type Servers struct {
	dir, logDir, socket, self, program string
	user                               user
	leases                             Leases
	log                                *slog.Logger
	hold                               func() bool
	starter                            starter
	due                                chan struct{} // some book has something to record
	reloads                            chan struct{} // with a place for each that goes on
	ready                              chan struct{}
	ended                              chan struct{}

	apply sync.Mutex // held by Apply and Stop

	mu      sync.Mutex
	servers map[int]*server
	closed  bool
}

// plainPath has nothing that dnsmasq, or the shell by which it calls its script at the
// start (popen(3)), takes for anything else.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._-]+$`)

// New checks the options. Nothing is done before Run. The error is of kind errs.Invalid
// for a path, errs.Unavailable if there is no such user.
func New(o Options) (*Servers, error) {
	for _, p := range []string{o.Dir, o.LogDir, o.HookSocket, o.Self} {
		if !plainPath.MatchString(p) {
			return nil, errs.Invalidf("path %q: an absolute one of letters, digits, '/', '.', '_' and '-' is needed", p)
		}
	}
	s := &Servers{
		dir: o.Dir, logDir: o.LogDir, socket: o.HookSocket, self: o.Self, program: o.Program,
		leases: o.Leases, log: o.Log, hold: o.Hold, starter: starter{jobs: make(chan func()), gone: make(chan struct{})},
		due: make(chan struct{}, 1), reloads: make(chan struct{}, maxReloads), ready: make(chan struct{}), ended: make(chan struct{}), servers: map[int]*server{},
	}
	if s.program == "" {
		s.program = "/usr/sbin/dnsmasq"
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if o.User == "" {
		o.User = "dnsmasq"
	}
	var err error
	s.user, err = lookup(o.User)
	return s, err
}

func lookup(name string) (user, error) {
	u, err := osuser.Lookup(name)
	if err != nil {
		return user{}, errs.Unavailablef("user %q for dnsmasq: %w", name, err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return user{uint32(uid), uint32(gid)}, errors.Join(err1, err2)
}

// Ready is closed when Apply can work.
func (s *Servers) Ready() <-chan struct{} { return s.ready }

// Run serves the hook and keeps the servers running until ctx ends; then it stops them
// as Stop does, for at most 5 s. It is called once.
func (s *Servers) Run(ctx context.Context) error {
	defer close(s.ended)
	l, err := s.prepare()
	if err != nil {
		return fmt.Errorf("prepare DHCP: %w", err)
	}
	// The hooks, the record and the starter outlive the servers, which need them to end.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	group, inner := errgroup.WithContext(inner)
	group.Go(func() error { return s.serveHooks(inner, l) })
	group.Go(func() error { return s.recordAll(inner) })
	group.Go(func() error { return s.starter.Run(inner) })
	group.Go(func() error {
		defer cancel()
		select {
		case <-ctx.Done():
		case <-inner.Done():
		}
		return s.close()
	})
	close(s.ready)
	return group.Wait()
}

// close stops all servers for good. The starter may be gone already, if it has failed.
func (s *Servers) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return s.Stop(ctx)
}

// prepare makes the folders, the hook's name and the socket, and removes files of an
// earlier daemon.
func (s *Servers) prepare() (l *net.UnixListener, err error) {
	if err := errors.Join(os.MkdirAll(s.dir, 0o711), os.MkdirAll(s.logDir, 0o750)); err != nil {
		return nil, err
	}
	for _, pattern := range []string{"[0-9]*.conf", "[0-9]*.hosts"} {
		old, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range old {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	if err := os.Remove(s.script()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.Symlink(s.self, s.script()); err != nil {
		return nil, err
	}
	return listen(s.socket, s.user)
}

func (s *Servers) script() string       { return filepath.Join(s.dir, HookName) }
func (s *Servers) hosts(vni int) string { return filepath.Join(s.dir, strconv.Itoa(vni)+".hosts") }

// write replaces a file at once by one that only dnsmasq's user can read.
func (s *Servers) write(path, text string) error {
	f, err := os.CreateTemp(s.dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chown(int(s.user.uid), int(s.user.gid)), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Apply makes the servers those of the networks: started, stopped, restarted if their
// configuration has changed, told if only reservations have. It returns when each has
// got its leases or has failed once, and what is wrong by VNI: a server that does not
// run (it will be tried again), one that goes on as it was because the new values are
// wrong (errs.Invalid), or reservations that had to be left out. The key 0 means all of it
// (errs.Unavailable: Run does not run).
func (s *Servers) Apply(ctx context.Context, networks []Network) map[int]error {
	s.apply.Lock()
	defer s.apply.Unlock()
	if err := s.wait(ctx); err != nil {
		return map[int]error{0: err}
	}
	problems := map[int]error{}
	wanted := map[int]bool{}
	outcome := map[*server]<-chan struct{}{}
	for i := range networks {
		n := &networks[i]
		if wanted[n.VNI] {
			problems[n.VNI] = errs.Conflictf("network %d is given twice", n.VNI)
			continue
		}
		if wanted[n.VNI] = n.serves4() || n.serves6(); !wanted[n.VNI] {
			continue
		}
		v, done, err := s.order(n)
		if problems[n.VNI] = err; v != nil {
			outcome[v] = done
		}
	}
	if err := s.stop(ctx, func(vni int) bool { return !wanted[vni] }); err != nil {
		s.log.Warn("leases of networks without DHCP are not on record", "err", err)
	}
	for v, done := range outcome {
		problems[v.vni] = errors.Join(problems[v.vni], v.outcome(ctx, done))
	}
	for vni, err := range problems {
		if err == nil {
			delete(problems, vni)
		}
	}
	return problems
}

// wait waits until Run works.
func (s *Servers) wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return errs.Unavailablef("DHCP has ended")
	case <-ctx.Done():
		return errs.Unavailablef("DHCP is not ready: %w", ctx.Err())
	case <-s.ready:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errs.Unavailablef("DHCP has ended")
	}
	return nil
}

// order has the server of a network work with its values.
func (s *Servers) order(n *Network) (*server, <-chan struct{}, error) {
	if err := n.check(); err != nil {
		return nil, nil, err
	}
	hosts, err := n.hosts()
	good, _ := n.reservations() // what is wrong is in err
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.servers[n.VNI]
	if s.closed {
		return nil, nil, errs.Unavailablef("DHCP has ended")
	}
	if v == nil {
		v = s.newServer(n.VNI)
		s.servers[n.VNI] = v
		var ctx context.Context
		ctx, v.cancel = context.WithCancel(context.Background())
		go v.run(ctx) // stop waits for it
	}
	v.book.setNaming(newNaming(n.Domain, good))
	return v, v.give(files{n.config(paths{script: s.script(), hosts: s.hosts(n.VNI)}), hosts}), err
}

// outcome waits for that of an order.
func (v *server) outcome(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return v.problem()
	case <-ctx.Done():
		return errs.Unavailablef("the server has not got its leases yet: %w", ctx.Err())
	}
}

// Stop stops all servers and returns when they are gone and the last changes are on
// record. If ctx ends before that, the processes are gone nevertheless, and the error says
// what is not on record; it is given up, as it is for the next primary to write.
func (s *Servers) Stop(ctx context.Context) error {
	s.apply.Lock()
	defer s.apply.Unlock()
	return s.stop(ctx, func(int) bool { return true })
}

// stop stops some servers, side by side.
func (s *Servers) stop(ctx context.Context, which func(vni int) bool) error {
	s.mu.Lock()
	var going []*server
	for vni, v := range s.servers {
		if which(vni) {
			going = append(going, v)
			v.cancel()
		}
	}
	s.mu.Unlock()
	var all []error
	for _, v := range going {
		<-v.ended // soon: it kills
		all = append(all, s.flush(ctx, v))
		s.mu.Lock()
		delete(s.servers, v.vni)
		s.mu.Unlock()
	}
	return errors.Join(all...)
}

// flush records what is due in one network.
func (s *Servers) flush(ctx context.Context, v *server) error {
	return v.book.flush(ctx, func(l Lease, err error) {
		s.log.Warn("a lease cannot be recorded", "network", v.vni, "address", l.Address, "err", err)
	})
}

// recordAll keeps the record as the books are, until ctx ends. What cannot be recorded
// now is tried again.
func (s *Servers) recordAll(ctx context.Context) error {
	pause, said := firstRetry, ""
	retry := time.NewTimer(pause)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.due:
		case <-retry.C:
		}
		err := s.recordOnce(ctx)
		if err == nil || ctx.Err() != nil {
			pause, said = firstRetry, ""
			retry.Stop()
			continue
		}
		if said != err.Error() {
			said = err.Error()
			s.log.Warn("leases wait to be recorded", "err", err)
		}
		retry.Reset(pause)
		pause = min(pause*2, lastRetry)
	}
}

func (s *Servers) recordOnce(ctx context.Context) error {
	s.mu.Lock()
	var busy []*server
	for _, v := range s.servers {
		if v.book.left() > 0 {
			busy = append(busy, v)
		}
	}
	s.mu.Unlock()
	var all []error
	for _, v := range busy {
		all = append(all, s.flush(ctx, v))
	}
	return errors.Join(all...)
}
