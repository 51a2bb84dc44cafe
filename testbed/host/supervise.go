package host

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// initContext bounds what an init does before it is ready.
func initContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 10*time.Second)
}

// supervisor runs in the init. One goroutine (run) owns all of its state and
// starts and reaps all children, so that no child ends before it is known.
type supervisor struct {
	units     map[string]*unit
	byPID     map[int]*unit
	templates map[string]Service // by their names, which end with @
	enabled   string             // folder with a file for each unit that is enabled
	tasks     chan func()
}

// unit is a service with what has become of it.
type unit struct {
	service Service
	pid     int
	starts  int
	paused  bool
	down    bool
	onEnd   []chan struct{} // closed when the present process has been reaped
}

func newSupervisor() *supervisor {
	return &supervisor{units: map[string]*unit{}, byPID: map[int]*unit{}, templates: map[string]Service{}, tasks: make(chan func(), 64)}
}

// run supervises until the power is cut.
func (s *supervisor) run(children <-chan os.Signal) {
	for {
		select {
		case <-children:
			s.reap()
		case task := <-s.tasks:
			task()
		}
	}
}

// define adds a service; it starts as soon as run gets to it, unless it is a template.
func (s *supervisor) define(service Service) {
	s.tasks <- func() { s.add(service) }
}

// add is define for those on run's goroutine.
func (s *supervisor) add(service Service) {
	if strings.HasSuffix(service.Name, "@") {
		s.templates[service.Name] = service
		return
	}
	u := &unit{service: service}
	s.units[service.Name] = u
	s.start(u)
}

// start starts a unit that should run and does not. A failure, and a missing
// After, lead to another try.
func (s *supervisor) start(u *unit) {
	if u.pid != 0 || u.down || s.units[u.service.Name] != u {
		return
	}
	if u.service.After != "" {
		if _, err := os.Stat(u.service.After); err != nil {
			s.startLater(u, 20*time.Millisecond)
			return
		}
	}
	pid, err := spawn(u.service)
	if err != nil {
		slog.Error("start service", "service", u.service.Name, "err", err)
		s.startLater(u, RestartDelay)
		return
	}
	u.pid, u.paused = pid, false
	u.starts++
	s.byPID[pid] = u
	slog.Info("service started", "service", u.service.Name, "pid", pid, "starts", u.starts)
}

func (s *supervisor) startLater(u *unit, delay time.Duration) {
	time.AfterFunc(delay, func() { s.tasks <- func() { s.start(u) } })
}

func spawn(service Service) (int, error) {
	log, err := os.OpenFile(service.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	environment := append([]string{"PATH=" + searchPath, "HOME=/root", "LANG=C.UTF-8"}, service.Env...)
	p, err := os.StartProcess(service.Argv[0], service.Argv, &os.ProcAttr{Dir: "/", Env: environment,
		Files: []*os.File{null, log, log}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return 0, err
	}
	pid := p.Pid
	return pid, p.Release() // reap waits for it
}

// reap collects every child that has ended: services, and orphans of theirs.
func (s *supervisor) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if u := s.byPID[pid]; u != nil {
			s.ended(u, status)
		}
	}
}

func (s *supervisor) ended(u *unit, status syscall.WaitStatus) {
	slog.Info("service ended", "service", u.service.Name, "pid", u.pid, "status", fmt.Sprintf("%#x", int(status)))
	delete(s.byPID, u.pid)
	u.pid, u.paused = 0, false
	for _, c := range u.onEnd {
		close(c)
	}
	u.onEnd = nil
	if !u.down {
		s.startLater(u, RestartDelay)
	}
}

// handle answers one request. The channel, if any, is closed when the process
// that was signalled has ended.
func (s *supervisor) handle(r request) (response, <-chan struct{}) {
	switch r.Verb {
	case verbStatus:
		return response{Status: s.status(r.Service)}, nil
	case verbDefine:
		if r.Define == nil || len(r.Define.Argv) == 0 {
			return response{Error: "no service given"}, nil
		}
		if s.units[r.Define.Name] != nil {
			return response{Error: "exists already"}, nil
		}
		s.add(*r.Define)
		return response{}, nil
	case verbEnable, verbDisable:
		return s.setEnabled(r.Service, r.Verb == verbEnable), nil
	}
	u := s.units[r.Service]
	if u == nil {
		return s.handleUnknown(r)
	}
	return s.change(u, r.Verb)
}

func (s *supervisor) change(u *unit, v verb) (response, <-chan struct{}) {
	if v == verbUp {
		u.down = false
		s.start(u)
		return response{}, nil
	}
	sig, ok := signalOf[v]
	if !ok {
		return response{Error: fmt.Sprintf("unknown verb %q", v)}, nil
	}
	if v == verbDown || v == verbStop {
		u.down = true
	}
	if u.pid == 0 {
		if u.down {
			return response{}, nil
		}
		return response{Error: "does not run"}, nil
	}
	if err := syscall.Kill(u.pid, sig); err != nil {
		return response{Error: err.Error()}, nil
	}
	if v == verbPause || v == verbCont {
		u.paused = v == verbPause
		return response{}, nil
	}
	end := make(chan struct{})
	u.onEnd = append(u.onEnd, end)
	return response{}, end
}

// status of the service named, of all if there is no name.
func (s *supervisor) status(service string) []Status {
	var all []Status
	for name, u := range s.units {
		if service != "" && name != service {
			continue
		}
		all = append(all, Status{Name: name, PID: u.pid, Starts: u.starts, Paused: u.paused, Down: u.down, Enabled: s.isEnabled(name)})
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// serveControl answers requests, each on a connection and goroutine of its own.
func serveControl(l net.Listener, s *supervisor) {
	for {
		conn, err := l.Accept()
		if err != nil {
			slog.Error("control socket", "err", err)
			return
		}
		go s.serve(conn)
	}
}

func (s *supervisor) serve(conn net.Conn) {
	defer conn.Close()
	var r request
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return
	}
	type result struct {
		answer response
		end    <-chan struct{}
	}
	results := make(chan result, 1)
	s.tasks <- func() {
		answer, end := s.handle(r)
		results <- result{answer, end}
	}
	got := <-results
	if got.end != nil {
		<-got.end
	}
	_ = json.NewEncoder(conn).Encode(got.answer) // a caller who has gone has no use for it
}
