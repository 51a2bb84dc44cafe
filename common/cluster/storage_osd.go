package cluster

import (
	"context"
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// SetOption sets or takes back a flag of the Ceph cluster, "noout" for example.
type SetOption struct {
	By     Caller
	Option string
	Set    bool
}

// SetOption has the flag changed. One that Ceph does not know is errs.Invalid.
func (c *Cluster) SetOption(ctx context.Context, r SetOption) (Answer, error) {
	if err := model.CheckFlag(r.Option, r.Set); err != nil {
		return Answer{}, forValue("option", err)
	}
	var args command.Args = command.OSDUnset{Flag: r.Option}
	if r.Set {
		args = command.OSDSet{Flag: r.Option}
	}
	return c.command(ctx, r.By, args, anyHost)
}

// AddOSD makes an OSD of a block device.
type AddOSD struct {
	By           Caller
	Node, Device string
	Weight       string // in the CRUSH map, a number larger than 0
}

// AddOSD checks the request and begins it. The host itself looks whether the device is
// there and not in use.
func (c *Cluster) AddOSD(ctx context.Context, r AddOSD) (Begun, error) {
	weight, err := model.ParseWeight(r.Weight)
	if err != nil {
		return Begun{}, forValue("weight", err)
	}
	if err := model.CheckDevicePath(r.Device); err != nil {
		return Begun{}, forValue("device", err)
	}
	if err := model.CheckNodeName(r.Node); err != nil {
		return Begun{}, forValue("node", err)
	}
	if err := r.By.check(); err != nil {
		return Begun{}, err
	}
	args := command.OSDAdd{Node: r.Node, Device: r.Device, Weight: weight, UUID: model.NewUUID()}
	return c.begin(ctx, r.By, args, func(s *view.Snapshot) (place, error) {
		for _, o := range s.OSDs() {
			if o.Node == r.Node && o.Device == r.Device {
				return place{}, forValue("device", errs.Conflictf("%s of node %q is OSD %d already", r.Device, r.Node, o.ID))
			}
		}
		return thisHost(s, r.Node)
	})
}

// RemoveOSD takes an OSD out of the cluster for good.
type RemoveOSD struct {
	By  Caller
	OSD string // "3" or "osd.3"
	// Force does not wait until its data is safe elsewhere.
	Force bool
}

// RemoveOSD checks the request and begins it. The host of the disk does it, and no other;
// while its daemon is away that is errs.Conflict. An OSD of a host that is none of the
// cluster's, or has no storage, is for any host to look at.
func (c *Cluster) RemoveOSD(ctx context.Context, r RemoveOSD) (Begun, error) {
	id, err := model.ParseOSDID(r.OSD)
	if err != nil {
		return Begun{}, err
	}
	if err := r.By.check(); err != nil {
		return Begun{}, err
	}
	return c.begin(ctx, r.By, command.OSDRemove{OSD: id, Force: r.Force}, func(s *view.Snapshot) (place, error) {
		o, err := findOSD(s, r.OSD)
		if err != nil {
			return place{}, err
		}
		n, ok := s.Node(o.Node)
		switch {
		case !ok || !n.HasStorage():
			return anyHost(s)
		case !n.Running():
			return place{}, errs.Conflictf("OSD %d was not removed: its disk is in host %s, whose daemon is in state %s; the OSD can be marked out, and removed when that host is back or is no node any more",
				o.ID, o.Node, n.EffectiveDaemonState())
		}
		return place{node: o.Node}, nil
	})
}

// SetOSDState lets an OSD hold data, or has its data moved to others.
type SetOSDState struct {
	By  Caller
	OSD string // "3" or "osd.3"
	In  bool
}

// SetOSDState has the OSD marked in or out.
func (c *Cluster) SetOSDState(ctx context.Context, r SetOSDState) (Answer, error) {
	id, err := model.ParseOSDID(r.OSD)
	if err != nil {
		return Answer{}, err
	}
	var args command.Args = command.OSDOut{OSD: id}
	if r.In {
		args = command.OSDIn{OSD: id}
	}
	return c.command(ctx, r.By, args, func(s *view.Snapshot) (place, error) {
		if _, err := findOSD(s, strconv.Itoa(id)); err != nil {
			return place{}, err
		}
		return anyHost(s)
	})
}
