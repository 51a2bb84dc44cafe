package cluster

import (
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// storageOn refuses what needs Ceph in a cluster without it.
func storageOn(s *view.Snapshot) error {
	if slices.ContainsFunc(s.Nodes(), (*model.Node).HasStorage) {
		return nil
	}
	return errs.Conflictf("storage is not enabled: no host has it (enable_storage)")
}

// anyHost is where a command goes that every host with storage can execute: the primary,
// beside which the API runs, otherwise the first that runs. Another one takes its place
// when it is gone.
func anyHost(s *view.Snapshot) (place, error) {
	if err := storageOn(s); err != nil {
		return place{}, err
	}
	able := func(n *model.Node) bool { return n.HasStorage() && n.Running() }
	if n, ok := s.Node(s.PrimaryNode()); ok && able(n) {
		return place{n.Name, true}, nil
	}
	nodes := s.Nodes()
	i := slices.IndexFunc(nodes, able)
	if i < 0 {
		return place{}, errs.Conflictf("no host with storage is in operation, nothing was changed")
	}
	return place{nodes[i].Name, true}, nil
}

// thisHost is the host of a disk.
func thisHost(s *view.Snapshot, name string) (place, error) {
	if err := storageOn(s); err != nil {
		return place{}, err
	}
	n, ok := s.Node(name)
	switch {
	case !ok:
		return place{}, forValue("node", errs.NotFoundf("no node is named %q", model.Clip(name)))
	case !n.HasStorage():
		return place{}, forValue("node", errs.Conflictf("node %q has no storage (enable_storage)", name))
	case !n.Running():
		return place{}, forValue("node", errs.Conflictf("the daemon of node %q is in state %s", name, n.EffectiveDaemonState()))
	}
	return place{node: name}, nil
}

func findPool(s *view.Snapshot, pool string) (*model.Pool, error) {
	if p, ok := s.Pool(pool); ok {
		return p, nil
	}
	return nil, errs.NotFoundf("no pool is named %q", model.Clip(pool))
}

func findVolume(s *view.Snapshot, pool, name string) (*model.Volume, error) {
	if _, err := findPool(s, pool); err != nil {
		return nil, err
	}
	if v, ok := s.Volume(pool, name); ok {
		return v, nil
	}
	return nil, errs.NotFoundf("pool %q has no volume %q", pool, model.Clip(name))
}

// findOSD reads an OSD's id, "3" or "osd.3", and finds it.
func findOSD(s *view.Snapshot, ref string) (*model.OSD, error) {
	id, err := model.ParseOSDID(ref)
	if err != nil {
		return nil, err
	}
	if o, ok := s.OSD(id); ok {
		return o, nil
	}
	return nil, errs.NotFoundf("no OSD has the id %q", model.Clip(ref))
}

// hasRoom refuses a size that the pool has no space for, as far as that is known. Volumes
// take space only as they are written to, so that a caller may insist.
func hasRoom(p *model.Pool, more model.Size, force bool) error {
	if force || p.Stats == nil || p.Stats.Free == 0 || more <= p.Stats.Free {
		return nil
	}
	return forValue("size", errs.Conflictf("pool %q has %s left, %s are needed: use force to have the volume anyway", p.Name, p.Stats.Free, more))
}

// unused refuses what would take a volume away from a VM.
func unused(s *view.Snapshot, v *model.Volume, what string) error {
	if users := volumeUsers(s, v.FullName(), ""); len(users) > 0 {
		return errs.Conflictf("volume %q is used by %s: it was not %s", v.FullName(), strings.Join(users, ", "), what)
	}
	return nil
}

// volumeUsers names the VMs that name a volume, without the VM of that UUID.
func volumeUsers(s *view.Snapshot, full, except string) []string {
	return imageUsers(s, full, except, func(name string) bool { return name == full })
}

// poolUsers names the VMs that name a volume of a pool.
func poolUsers(s *view.Snapshot, pool string) []string {
	return imageUsers(s, pool+"/", "", func(name string) bool { return strings.HasPrefix(name, pool+"/") })
}

// imageUsers names the VMs that name an RBD image, in their lists of images or in their
// documents. A document that cannot be read counts if the text is in it.
func imageUsers(s *view.Snapshot, text, except string, match func(name string) bool) (users []string) {
	for _, vm := range s.VMs() {
		if vm.UUID == except {
			continue
		}
		there := strings.Contains(vm.XML, text)
		used := slices.ContainsFunc(vm.RBDList, match)
		if !used && (there || strings.Contains(vm.XML, "&")) { // see usersOf
			spec, err := s.Spec(vm)
			used = err != nil && there || err == nil && slices.ContainsFunc(domxml.RBDList(spec), match)
		}
		if used {
			users = append(users, "VM "+quote(vm.Name))
		}
	}
	return users
}

// forValue names the value that an error is about; its kind stays.
func forValue(value string, err error) error {
	return errs.New(errs.KindOf(err), "value %q: %w", value, err)
}
