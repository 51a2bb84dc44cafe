package link

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// ownerKey is the key of a port's external_ids that names the network it was made for.
const ownerKey = "pvc"

// switchTime is how long Open vSwitch may take for one answer, and switchGrace what
// ovs-vsctl gets on top of that to say so itself.
const (
	switchTime  = 5 * time.Second
	switchGrace = 2 * time.Second
)

// switches are the bridges and ports of Open vSwitch.
type switches struct {
	bridges map[string]int        // by name: the largest MTU with which Open vSwitch leaves a port alone
	ports   map[string]switchPort // by name
}

// switchPort is a port as the database of Open vSwitch has it (ovs-vswitchd.conf.db(5)).
type switchPort struct {
	bridge string
	owner  string // of external_ids, see ownerKey
	vlan   int    // tag; 0 if it has none
	plain  bool   // an access port with one internal interface of its own name, as add makes it
	fault  string // why its device could not be made, in the words of ovs-vswitchd
}

// ovs speaks to Open vSwitch through ovs-vsctl(8).
type ovs struct {
	runner run.Runner
	db     string // see Underlay.SwitchDB
}

func (o ovs) call(ctx context.Context, args ...string) (run.Result, error) {
	argv := []string{"ovs-vsctl", "--timeout=" + strconv.Itoa(int(switchTime.Seconds()))}
	if o.db != "" {
		argv = append(argv, "--db="+o.db)
	}
	r, err := o.runner.Run(ctx, run.Command{Argv: append(argv, args...), Timeout: switchTime + switchGrace})
	if exit := (*run.ExitError)(nil); errors.As(err, &exit) && exit.Signal != "" {
		return r, errs.Unavailablef("Open vSwitch has not answered within %v: %w", switchTime, err)
	}
	return r, err
}

// read asks for everything at once. An error is Unavailable.
func (o ovs) read(ctx context.Context) (switches, error) {
	r, err := o.call(ctx, "--format=json",
		"--", "--columns=name,ports", "list", "Bridge",
		"--", "--columns=_uuid,name,tag,vlan_mode,external_ids,interfaces", "list", "Port",
		"--", "--columns=_uuid,name,type,mtu,mtu_request,error", "list", "Interface")
	if err != nil {
		return switches{}, errs.Unavailablef("Open vSwitch cannot be asked: %w", err)
	}
	if r.Truncated {
		return switches{}, errs.Unavailablef("Open vSwitch has more ports than can be read: over %d bytes", run.MaxOutput)
	}
	s, err := parseSwitches(r.Stdout)
	if err != nil {
		return switches{}, errs.Unavailablef("Open vSwitch gives an answer that is not understood: %w", err)
	}
	return s, nil
}

// add makes an access port for a network, and its device. One of that name, whoever it
// belongs to, is an error: what was read before may be out of date. No MTU is requested:
// Open vSwitch would lower that of the whole bridge, whose own device may be the operator's
// way to the host.
func (o ovs) add(ctx context.Context, bridge string, s step) error {
	vlan := strconv.Itoa(s.vni)
	_, err := o.call(ctx, "--", "add-port", bridge, s.device, "tag="+vlan, "external_ids:"+ownerKey+"="+vlan,
		"--", "set", "Interface", s.device, "type=internal")
	return err
}

func (o ovs) remove(ctx context.Context, port string) error {
	_, err := o.call(ctx, "--", "--if-exists", "del-port", port)
	return err
}

// switchSteps returns what executes the steps of ports. When Open vSwitch is silent once,
// it is asked no more: other networks must not wait for it again and again.
func (l *Links) switchSteps(ctx context.Context) func(step) error {
	var silent error
	return func(s step) error {
		if silent != nil {
			return silent
		}
		err := l.switchStep(ctx, s)
		if errs.Is(err, errs.Unavailable) {
			silent = err
		}
		return err
	}
}

func (l *Links) switchStep(ctx context.Context, s step) error {
	switch s.op {
	case create:
		if err := l.ovs.add(ctx, l.underlay.BridgedDevice, s); err != nil {
			return err
		}
		return l.kernel.find(s.device)
	case remove:
		if err := l.ovs.remove(ctx, s.device); err != nil {
			return err
		}
		delete(l.kernel.index, s.device)
		return nil
	}
	return errs.New(errs.Internal, "%s is no step of a port", s)
}

// find learns the number of a device that somebody else has made for us.
func (k *kernel) find(name string) error {
	d, there, err := k.lookUp(name)
	if err == nil && !there {
		err = errs.Unavailablef("port %s of Open vSwitch has no device", name)
	}
	k.index[name] = d.index
	return err
}
