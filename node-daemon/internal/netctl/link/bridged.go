package link

import (
	"context"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// asked is what Open vSwitch has said of the device for bridged networks.
type asked struct {
	index  int // of the device then; 0: nothing was asked yet
	bridge bool
	err    error
}

// readSwitches adds what Open vSwitch has, if it may matter, and says why it does not
// answer. A host without Open vSwitch needs none.
func (l *Links) readSwitches(ctx context.Context, want Desired, have *state) error {
	if !switching(l.underlay, want, *have) {
		return nil
	}
	below, there := have.devices[l.underlay.BridgedDevice]
	all, err := l.ovs.read(ctx)
	err = unlessAbsent(err, below.kind)
	if there {
		_, known := all.bridges[below.name]
		l.asked = asked{below.index, known, err}
	}
	have.adopt(all)
	l.kernel.switches = all
	return err
}

// unlessAbsent is err, but not where there is no Open vSwitch: it has no device there.
func unlessAbsent(err error, kind string) error {
	if run.NotInstalled(err) && kind != kindOpenVSwitch {
		return nil
	}
	return err
}

// switching says whether Open vSwitch has to be asked: for a network that may be one of
// its ports, or because of a device that may be such a port and left over.
func switching(u Underlay, want Desired, have state) bool {
	if below, there := have.devices[u.BridgedDevice]; want.bridged() && u.BridgedDevice != "" && (!there || below.switchable()) {
		return true
	}
	for _, d := range have.devices {
		if d.switchable() && isVLANName(d.name) {
			return true
		}
	}
	return false
}

func isVLANName(name string) bool {
	vni, err := strconv.Atoi(strings.TrimPrefix(name, vlanOf(0)[:len(vlanOf(0))-1]))
	return err == nil && vni >= 1 && vni <= model.MaxVLAN && vlanOf(vni) == name
}

// VLANs says whether this host can have bridged networks: nil, or an Unavailable error
// with the reason. A bridge of Open vSwitch needs no VLAN devices of the kernel. Whether
// the kernel has them is found out once, in a name space made for that; Open vSwitch is
// asked when the device is new, and as long as it does not answer.
func (l *Links) VLANs(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := l.underlay.BridgedDevice
	if name == "" {
		return l.vlans()
	}
	if err := l.open(); err != nil {
		return errs.Unavailablef("device %q for bridged networks: %w", name, err)
	}
	d, there, err := l.kernel.lookUp(name)
	switch {
	case err != nil:
		return errs.Unavailablef("device %q for bridged networks: %w", name, err)
	case !there:
		all, err := l.ovs.read(ctx)
		_, known := all.bridges[name]
		return noDevice(name, known, unlessAbsent(err, ""))
	case !d.switchable():
		return l.vlans()
	}
	if l.asked.index != d.index || l.asked.err != nil {
		all, err := l.ovs.read(ctx)
		_, known := all.bridges[name]
		l.asked = asked{d.index, known, unlessAbsent(err, d.kind)}
	}
	switch {
	case l.asked.err != nil:
		return l.asked.err
	case !l.asked.bridge:
		return l.vlans()
	case d.idle:
		return notRunning(name)
	}
	return nil
}
