package faults

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Span is a time in which one QEMU executed the guest.
type Span struct {
	Host     string
	Process  int // counts the QEMUs that the witness has seen
	From, To time.Time
}

// Witness watches the QEMUs of one guest on several hosts. The guest's QEMU has to
// listen on the socket that [Monitored] adds.
type Witness struct {
	stop func()
	done sync.WaitGroup

	mu        sync.Mutex
	processes int
	now       map[string]*sighting // by host
	history   []Span
}

// sighting is a QEMU that lives.
type sighting struct {
	monitor *monitor
	process int
	state   string    // its last RunState, "" before the first answer
	since   time.Time // when it began to execute; zero while it does not
}

const (
	lookEvery   = 20 * time.Millisecond // for a new QEMU
	sampleEvery = 50 * time.Millisecond // of the state of each, beside its events
)

// Monitored adds a monitor for the witness to domain XML: a socket at this path on
// whichever host the guest is.
func Monitored(domain, socket string) string {
	arguments := "  <qemu:commandline>\n    <qemu:arg value='-qmp'/>\n    <qemu:arg value='unix:" + socket + ",server=on,wait=off'/>\n  </qemu:commandline>\n</domain>"
	domain = strings.Replace(domain, "<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ", 1)
	return strings.Replace(domain, "</domain>", arguments, 1)
}

// Watch begins to watch: sockets is where the machine finds the monitor of each host.
func Watch(sockets map[string]string) *Witness {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Witness{stop: cancel, now: map[string]*sighting{}}
	for host, socket := range sockets {
		w.done.Go(func() { w.watchHost(ctx, host, socket) })
	}
	return w
}

// Stop ends it. A second call does nothing.
func (w *Witness) Stop() {
	w.stop()
	w.done.Wait()
}

func (w *Witness) watchHost(ctx context.Context, host, socket string) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		if s, err := w.meet(ctx, host, socket); err == nil {
			w.sample(ctx, s)
			s.monitor.close()
			w.lost(host, s)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// meet connects to the QEMU of a host, if there is one.
func (w *Witness) meet(ctx context.Context, host, socket string) (*sighting, error) {
	s := new(sighting)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	m, err := openMonitor(ctx, socket,
		func(name string, at time.Time) { w.saw(host, s, name, at) },
		func() { w.over(host, s) })
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.processes++
	s.monitor, s.process = m, w.processes
	w.now[host] = s
	return s, nil
}

// sample asks for the state until the QEMU is gone: a guest that was met while it
// executed has sent no event of its beginning.
func (w *Witness) sample(ctx context.Context, s *sighting) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		var status struct {
			Status  string `json:"status"`
			Running bool   `json:"running"`
		}
		asked := time.Now()
		if err := s.monitor.execute(ctx, "query-status", &status); err == nil {
			w.mu.Lock()
			s.state = status.Status
			if status.Running && s.since.IsZero() {
				s.since = asked
			}
			w.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-s.monitor.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// saw notes what QEMU said at a time of its own; all hosts share one clock.
func (w *Witness) saw(host string, s *sighting, event string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch event {
	case "RESUME":
		s.since = at
	case "STOP":
		w.ended(host, s, at)
	}
}

// over notes the end of a QEMU, as soon as its socket is closed.
func (w *Witness) over(host string, s *sighting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended(host, s, time.Now())
}

func (w *Witness) lost(host string, s *sighting) {
	w.over(host, s)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.now, host)
}

func (w *Witness) ended(host string, s *sighting, at time.Time) {
	if !s.since.IsZero() {
		w.history = append(w.history, Span{Host: host, Process: s.process, From: s.since, To: at})
	}
	s.since = time.Time{}
}

// State is the RunState of the QEMU on a host, empty if there is none.
func (w *Witness) State(host string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.now[host]; s != nil {
		return cmp.Or(s.state, "unknown")
	}
	return ""
}

// Executing are the hosts that execute the guest now.
func (w *Witness) Executing() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var hosts []string
	for host, s := range w.now {
		if !s.since.IsZero() {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// Sent is how many bytes of the guest's memory have left a host in the present
// migration; under is false if QEMU carries out none.
func (w *Witness) Sent(ctx context.Context, host string) (bytes int64, under bool) {
	w.mu.Lock()
	s := w.now[host]
	w.mu.Unlock()
	var answer struct {
		Status string `json:"status"`
		RAM    struct {
			Transferred int64 `json:"transferred"`
		} `json:"ram"`
	}
	if s == nil || s.monitor.execute(ctx, "query-migrate", &answer) != nil {
		return 0, false
	}
	// MigrationStatus of QEMU's qapi/migration.json
	under = slices.Contains([]string{"setup", "active", "pre-switchover", "device", "cancelling"}, answer.Status)
	return answer.RAM.Transferred, under
}

// History are the spans until now in the order of their beginning; those that have
// not ended end now.
func (w *Witness) History() []Span {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Clone(w.history)
	for host, s := range w.now {
		if !s.since.IsZero() {
			all = append(all, Span{Host: host, Process: s.process, From: s.since, To: time.Now()})
		}
	}
	slices.SortFunc(all, func(a, b Span) int { return a.From.Compare(b.From) })
	return all
}

// Once says where two QEMUs executed the guest at the same time, nil if never.
func Once(history []Span) error {
	for i, a := range history {
		for _, b := range history[i+1:] {
			if a.Process != b.Process && a.From.Before(b.To) && b.From.Before(a.To) {
				return fmt.Errorf("executed twice: on %s from %s to %s and on %s from %s to %s", a.Host, clock(a.From), clock(a.To), b.Host, clock(b.From), clock(b.To))
			}
		}
	}
	return nil
}

func clock(t time.Time) string { return t.Format("15:04:05.000000") }

// Gap is the longest time in which nobody executed the guest since begin.
func Gap(history []Span, begin time.Time) time.Duration {
	var gap time.Duration
	end := begin
	for _, s := range history {
		if s.To.Before(begin) {
			continue
		}
		if !end.IsZero() && s.From.After(end) {
			gap = max(gap, s.From.Sub(end))
		}
		if s.To.After(end) {
			end = s.To
		}
	}
	return gap
}
