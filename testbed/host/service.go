package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Service is a program that the init of a host keeps running: one that ends,
// however it does, is started again after RestartDelay.
type Service struct {
	// Name; one that ends with @ makes the service a template of units: what stands
	// for %i in Argv and Log is the part of a unit's name after the @.
	Name string
	Argv []string // in the foreground, paths as the host sees them
	Env  []string // NAME=value, beside PATH, HOME and LANG
	Log  string   // file that takes what it prints, as the host sees it
	// After is a file that has to exist before each start, as the socket of a
	// service that this one depends on; empty: none.
	After string
}

// RestartDelay passes between the end of a service and its next start.
const RestartDelay = time.Second

// Status of a service.
type Status struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"`    // as the machine (not the host) sees it; 0: not running
	Starts int    `json:"starts"` // since the power went on
	Paused bool   `json:"paused"` // by Pause
	Down   bool   `json:"down"`   // kept down
	// Enabled says whether a unit of a template starts at every boot.
	Enabled bool `json:"enabled"`
}

// verb is what an init can be asked to do.
type verb string

const (
	verbDefine verb = "define"
	verbKill   verb = "kill"
	verbStop   verb = "stop"
	verbPause  verb = "pause"
	verbCont   verb = "cont"
	verbDown   verb = "down"
	verbUp     verb = "up"
	verbStatus verb = "status"
	// Of units of a template: start at every boot, or not.
	verbEnable  verb = "enable"
	verbDisable verb = "disable"
)

type request struct {
	Verb    verb     `json:"verb"`
	Service string   `json:"service,omitempty"`
	Define  *Service `json:"define,omitempty"`
}

type response struct {
	Error   string   `json:"error,omitempty"`
	Missing bool     `json:"missing,omitempty"` // there is neither such a service nor a template for it
	Status  []Status `json:"status,omitempty"`
}

// Define adds a service and starts it.
func (h *Host) Define(ctx context.Context, s Service) error {
	_, err := h.control(ctx, request{Verb: verbDefine, Define: &s})
	return err
}

// Kill ends the service with SIGKILL and returns when it is gone; its children
// live on. It is started again after RestartDelay unless it is kept down.
func (h *Host) Kill(ctx context.Context, service string) error { return h.ask(ctx, verbKill, service) }

// KeepDown is Kill without a next start, until Up.
func (h *Host) KeepDown(ctx context.Context, service string) error {
	return h.ask(ctx, verbDown, service)
}

// Stop asks the service to end with SIGTERM, keeps it down and returns when it
// is gone.
func (h *Host) Stop(ctx context.Context, service string) error { return h.ask(ctx, verbStop, service) }

// Up starts a service that was kept down or waits for its next start.
func (h *Host) Up(ctx context.Context, service string) error { return h.ask(ctx, verbUp, service) }

// Pause freezes the service with SIGSTOP.
func (h *Host) Pause(ctx context.Context, service string) error {
	return h.ask(ctx, verbPause, service)
}

// Cont lets a paused service go on.
func (h *Host) Cont(ctx context.Context, service string) error { return h.ask(ctx, verbCont, service) }

func (h *Host) ask(ctx context.Context, v verb, service string) error {
	_, err := h.control(ctx, request{Verb: v, Service: service})
	return err
}

// Status tells of all services of the host by name.
func (h *Host) Status(ctx context.Context) ([]Status, error) {
	answer, err := h.control(ctx, request{Verb: verbStatus})
	if err != nil {
		return nil, err
	}
	outer, err := h.outerPIDs()
	if err != nil {
		return nil, err
	}
	for i := range answer.Status {
		answer.Status[i].PID = outer[answer.Status[i].PID]
	}
	return answer.Status, nil
}

// PID is the process of the service as the machine sees it, 0 if it does not run.
func (h *Host) PID(ctx context.Context, service string) (int, error) {
	all, err := h.Status(ctx)
	if err != nil {
		return 0, err
	}
	for _, s := range all {
		if s.Name == service {
			return s.PID, nil
		}
	}
	return 0, fmt.Errorf("host %s has no service %q", h.Name, service)
}

func (h *Host) control(ctx context.Context, r request) (response, error) {
	answer, err := exchange(ctx, h.controlPath(), r)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err != nil {
		return answer, fmt.Errorf("%s %s on host %s: %w", r.Verb, r.Service, h.Name, err)
	}
	return answer, nil
}

// exchange sends one request and reads its answer; a connection carries one.
func exchange(ctx context.Context, socket string, r request) (response, error) {
	var answer response
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return answer, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(0, 1)) })
	defer stop()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return answer, err
	}
	err = json.NewDecoder(conn).Decode(&answer)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return answer, err
}

// outerPIDs maps the pids inside the host to those of the machine.
func (h *Host) outerPIDs() (map[int]int, error) {
	id := loadIdentity(h.Dir)
	if !id.Alive() {
		return nil, fmt.Errorf("host %s is off", h.Name)
	}
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", id.PID))
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		return nil, err
	}
	pids := map[int]int{}
	for _, file := range files {
		if ns, err := os.Readlink(file); err != nil || ns != own {
			continue // gone meanwhile, or of another host
		}
		outer, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err != nil {
			continue
		}
		if inner := innerPID(outer); inner != 0 {
			pids[inner] = outer
		}
	}
	return pids, nil
}

// innerPID is the pid that a process has in its own namespace, 0 if it is gone.
func innerPID(outer int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", outer))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if list, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(list)
			pid, _ := strconv.Atoi(fields[len(fields)-1]) // the kernel writes numbers
			return pid
		}
	}
	return 0
}

// signalOf maps verbs to the signals they send.
var signalOf = map[verb]syscall.Signal{
	verbKill: syscall.SIGKILL, verbDown: syscall.SIGKILL, verbStop: syscall.SIGTERM,
	verbPause: syscall.SIGSTOP, verbCont: syscall.SIGCONT,
}
