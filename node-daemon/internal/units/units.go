package units

import (
	"context"
	"regexp"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// Units are the units of this host. A unit is named as systemd does, with an instance
// and its type: "ceph-osd@3.service". Every other name is errs.Invalid.
//
// What asks for a state that is there already is no error, so that everything may be
// repeated. Nobody there to ask, or no answer before ctx ends, is errs.Unavailable: what was
// asked for may still happen.
type Units interface {
	// Start starts a unit, or returns if it runs. It does not wait until the daemon
	// serves. A template that does not exist is errs.NotFound.
	Start(ctx context.Context, unit string) error
	// Stop asks the unit's process to end and returns when it is gone. One that is not
	// known here does not run, and that is no error.
	Stop(ctx context.Context, unit string) error
	// Enable has a unit start at every boot; it does not start it now.
	Enable(ctx context.Context, unit string) error
	// Disable takes that back; it does not stop the unit.
	Disable(ctx context.Context, unit string) error
	// Active reports whether there is a process of the unit, be it only about to end.
	Active(ctx context.Context, unit string) (bool, error)
}

// SocketEnv is the environment variable by which a testbed host tells pvcd where its
// supervisor listens. It is not set on a machine with systemd.
const SocketEnv = "PVC_UNIT_SOCKET"

// New returns the units of this host: those of the supervisor that listens on the socket
// (see SocketEnv), or, without one, those of systemd.
func New(socket string, r run.Runner) Units {
	if socket != "" {
		return Supervisor{Socket: socket}
	}
	return Systemd{Run: r}
}

// suffix is the type of the units we have to do with.
const suffix = ".service"

// name is an instance of a template. An argument cannot begin with a dash in it, and
// there is nothing that systemd would take for a pattern.
var name = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}@[A-Za-z0-9_-]{1,60}\.service$`)

// Check says whether a text is the name of a unit that can be asked for.
func Check(unit string) error {
	if !name.MatchString(unit) {
		return errs.Invalidf("unit %q: an instance of a template is needed, as ceph-osd@3.service", unit)
	}
	return nil
}

// short is the name of a unit without its type.
func short(unit string) string { return strings.TrimSuffix(unit, suffix) }
