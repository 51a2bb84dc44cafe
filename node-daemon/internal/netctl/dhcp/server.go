package dhcp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// A server that has ended is started again after a time that doubles with each end
// soon after its start.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
	longLife   = 30 * time.Second
)

// steady is how long a dnsmasq must have lived after it got its leases: only then it
// looks for its interface and the addresses there, and ends if they are missing.
const steady = 250 * time.Millisecond

// files are the texts of a server's files.
type files struct{ config, hosts string }

// order is what a server shall do: work with these files. done is closed when that is
// so, or when it has failed for the first time.
type order struct {
	files files
	done  chan struct{}
}

// server keeps the dnsmasq of one network running.
type server struct {
	s    *Servers
	vni  int
	book *book
	log  *output

	orders chan order    // with one place; a newer order replaces one that waits
	inited chan struct{} // dnsmasq has got its leases
	cancel context.CancelFunc
	ended  chan struct{}

	// Of the loop:
	files   files
	process *process
	exited  <-chan struct{} // of the process; nil if there is none
	up      bool            // it works
	began   time.Time
	pause   time.Duration
	timer   *time.Timer // for the next start, or until the process is steady
	waiting []chan struct{}

	mu  sync.Mutex
	err error // why it does not serve
}

func (s *Servers) newServer(vni int) *server {
	name := strconv.Itoa(vni)
	return &server{
		s: s, vni: vni, book: newBook(vni, s.leases),
		log:    &output{path: filepath.Join(s.logDir, "dnsmasq-"+name+".log")},
		orders: make(chan order, 1), inited: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

func (v *server) config() string { return filepath.Join(v.s.dir, strconv.Itoa(v.vni)+".conf") }
func (v *server) hosts() string  { return v.s.hosts(v.vni) }

// run works until ctx ends. Then no process of it is left, nor a file.
func (v *server) run(ctx context.Context) {
	defer close(v.ended)
	v.timer = time.NewTimer(lastRetry) // no matter when
	defer v.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			v.halt()
			v.settle()
			_, _ = os.Remove(v.config()), os.Remove(v.hosts())
			return
		case o := <-v.orders:
			v.obey(o)
		case <-v.inited:
			v.timer.Reset(steady)
		case <-v.exited:
			v.lose(v.process.err)
		case <-v.timer.C:
			v.next()
		}
	}
}

// next is what is to be done when the time has come.
func (v *server) next() {
	if v.process == nil {
		if v.files.config != "" {
			v.start()
		}
		return
	}
	v.up = true
	v.fail(nil)
	v.settle()
}

// obey takes new files on; a process that runs is restarted only if it must be.
func (v *server) obey(o order) {
	v.waiting = append(v.waiting, o.done)
	old := v.files
	v.files = o.files
	switch {
	case o.files.config != old.config:
		v.halt()
		v.pause = 0
		v.start()
	case v.process == nil: // it is tried again when the time has come
		v.settle()
	case o.files.hosts != old.hosts:
		err := v.reload()
		if err != nil {
			v.files.hosts = old.hosts
		}
		v.fail(err)
		v.settle()
	case v.up:
		v.settle()
	}
}

// reload makes dnsmasq read the reservations again. One that is about to start ignores
// signals until it is about to read that file for the first time.
func (v *server) reload() error {
	if err := v.s.write(v.hosts(), v.files.hosts); err != nil {
		return err
	}
	v.s.reloads <- struct{}{}
	defer func() { <-v.s.reloads }()
	return v.process.reload(v.hosts())
}

func (v *server) start() {
	v.timer.Stop()
	if v.s.hold != nil && v.s.hold() {
		v.retryLater(fmt.Errorf("not started: it is not sure that this host is the primary"))
		return
	}
	select {
	case <-v.inited: // from a process that has gone
	default:
	}
	p, err := v.launch()
	if err != nil {
		v.lose(err)
		return
	}
	v.process, v.exited, v.up, v.began = p, p.exited, false, time.Now()
}

// launch writes the files anew: those of the last start belonged to a process that talks
// with guests.
func (v *server) launch() (p *process, err error) {
	if err := v.s.write(v.config(), v.files.config); err != nil {
		return nil, err
	}
	if err := v.s.write(v.hosts(), v.files.hosts); err != nil {
		return nil, err
	}
	env := []string{envSocket + "=" + v.s.socket, envNetwork + "=" + strconv.Itoa(v.vni)}
	err = v.s.starter.do(func() (err error) {
		p, err = startProcess(v.s.program, v.config(), env, v.s.user, v.log)
		return err
	})
	return p, err
}

// lose notes that there is no process, and that one must be started later.
func (v *server) lose(err error) {
	if v.process != nil && time.Since(v.began) > longLife {
		v.pause = 0
	}
	v.process, v.exited = nil, nil
	v.retryLater(err)
	v.s.log.Warn("the DHCP server of a network does not run", "network", v.vni, "err", err, "retry", v.pause)
}

func (v *server) retryLater(err error) {
	v.pause = min(max(v.pause*2, firstRetry), lastRetry)
	v.timer.Reset(v.pause)
	v.fail(err)
	v.settle()
}

func (v *server) halt() {
	if v.process != nil {
		v.process.stop()
		v.process, v.exited = nil, nil
	}
}

// settle lets go who waits for the outcome of an order.
func (v *server) settle() {
	for _, done := range v.waiting {
		close(done)
	}
	v.waiting = nil
}

// give hands an order over; the channel is closed when it has had its outcome.
func (v *server) give(f files) <-chan struct{} {
	o := order{files: f, done: make(chan struct{})}
	for {
		select {
		case v.orders <- o:
			return o.done
		case old := <-v.orders:
			close(old.done) // nobody waits for it any more: Apply is called by one at a time
		}
	}
}

// initialised is called when dnsmasq is about to get its leases.
func (v *server) initialised() { wake(v.inited) }

func (v *server) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
}

func (v *server) problem() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}
