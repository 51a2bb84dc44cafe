package units

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Supervisor asks the init of a testbed host: one request and its answer, both JSON, on
// a connection of their own (testbed/DESIGN.md, "Units").
type Supervisor struct {
	Socket string
	// Timeout bounds one request; 0 means DefaultTimeout.
	Timeout time.Duration
}

var _ Units = Supervisor{}

// question and answer are what goes over the socket.
type question struct {
	Verb    string `json:"verb"`
	Service string `json:"service"`
}

type answer struct {
	Error   string `json:"error"`
	Missing bool   `json:"missing"` // there is no template for such a unit
	Status  []struct {
		Name string `json:"name"`
		PID  int    `json:"pid"` // 0: not running
	} `json:"status"`
}

// Start implements Units.
func (s Supervisor) Start(ctx context.Context, unit string) error { return s.ask(ctx, "up", unit) }

// Stop implements Units. Unlike systemd the supervisor kills nothing by itself: a process
// that does not end is killed when half of the time is over.
func (s Supervisor) Stop(ctx context.Context, unit string) error {
	patient, cancel := context.WithTimeout(ctx, s.timeout()/2)
	defer cancel()
	err := s.ask(patient, "stop", unit)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err == nil || patient.Err() == nil || ctx.Err() != nil {
		return err
	}
	return s.ask(ctx, "down", unit)
}

// Enable implements Units.
func (s Supervisor) Enable(ctx context.Context, unit string) error { return s.ask(ctx, "enable", unit) }

// Disable implements Units.
func (s Supervisor) Disable(ctx context.Context, unit string) error {
	return s.ask(ctx, "disable", unit)
}

// Active implements Units.
func (s Supervisor) Active(ctx context.Context, unit string) (bool, error) {
	a, err := s.exchange(ctx, "status", unit)
	if err != nil {
		return false, err
	}
	for _, u := range a.Status {
		if u.Name == short(unit) && u.PID != 0 {
			return true, nil
		}
	}
	return false, nil
}

func (s Supervisor) ask(ctx context.Context, verb, unit string) error {
	_, err := s.exchange(ctx, verb, unit)
	return err
}

func (s Supervisor) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return DefaultTimeout
}

func (s Supervisor) exchange(ctx context.Context, verb, unit string) (answer, error) {
	if err := Check(unit); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	a, err := s.talk(ctx, question{verb, short(unit)})
	switch {
	case err != nil:
		return a, errs.Unavailablef("%s %s: ask the supervisor: %w", verb, unit, err)
	case a.Error == "":
		return a, nil
	case a.Missing:
		return a, errs.NotFoundf("%s %s: the supervisor says: %s", verb, unit, a.Error)
	}
	return a, fmt.Errorf("%s %s: the supervisor says: %s", verb, unit, a.Error)
}

func (s Supervisor) talk(ctx context.Context, q question) (a answer, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.Socket)
	if err != nil {
		return a, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(0, 1)) })
	defer stop()
	if err = json.NewEncoder(conn).Encode(q); err == nil {
		err = json.NewDecoder(conn).Decode(&a)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return a, err
}
