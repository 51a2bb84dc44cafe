package vmctl

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

var errNoRecords = errs.Unavailablef("no connection to ZooKeeper")

// scope is the part of the tree that concerns this host: its own node, and of VMs
// those in its index and those its hypervisor runs.
type scope struct {
	mirror *view.Mirror
	node   string
	look   chan struct{} // the index may have changed, or a guest was started
	relook chan struct{} // anything may have happened

	mu      sync.Mutex
	vms     map[string]bool
	volumes map[string][]string // that guests have open, by their UUIDs

	following sync.Mutex // held while volumes and the mirror are made to agree; before mu
}

// followRecords keeps a scope open until ctx ends.
func (c *Controller) followRecords(ctx context.Context) {
	for ctx.Err() == nil {
		s, err := c.openScope(ctx)
		if err != nil {
			if ctx.Err() == nil {
				c.o.Logger.Warn("cannot read the records of this host's VMs", "err", err)
				pause(ctx, time.Second)
			}
			continue
		}
		c.followScope(ctx, s)
		pause(ctx, reopenPace)
	}
}

// reopenPace keeps records that are lost again at once from being read without a pause.
const reopenPace = 250 * time.Millisecond

func (c *Controller) openScope(ctx context.Context) (*scope, error) {
	s := &scope{node: c.session.Node(), look: make(chan struct{}, 1), relook: make(chan struct{}, 1), vms: map[string]bool{}, volumes: map[string][]string{}}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var err error
	s.mirror, err = view.Open(ctx, view.MirrorOptions{
		Dial: c.o.Dial, Servers: c.o.Servers, Timeout: c.o.Timeout, Digest: c.o.Digest,
		Roots: []string{schema.Node(s.node)}, Want: s.want, Group: view.GroupOf,
		Changed: func(group string) {
			if uuid, ok := strings.CutPrefix(group, schema.Domains+"/"); ok {
				c.queue.Add(uuid)
				return
			}
			if volume, ok := strings.CutPrefix(group, schema.CephVolumes+"/"); ok {
				c.queue.Add(s.writers(volume)...)
				return
			}
			signal(s.look)
			signal(c.domainState)
		},
	})
	return s, err
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// want is the interest of a host.
func (s *scope) want(path string) view.Interest {
	parts := schema.Split(path)
	switch {
	case parts[0] == "claims", parts[0] == "ceph": // of the latter the records of volumes only
		return view.Interest{Data: true}
	case parts[0] == "domains" && len(parts) > 1:
		return view.WantVM(parts[1:])
	case parts[0] == "nodes" && len(parts) == 2:
		return view.Interest{Children: true}
	case parts[0] == "nodes" && len(parts) == 3 && parts[2] == schema.NodeVMs:
		return view.Interest{Children: true}
	case parts[0] == "nodes" && len(parts) == 3 && (parts[2] == schema.NodeDoorbell || parts[2] == schema.NodeDomainState):
		return view.Interest{Data: true}
	}
	return view.Interest{}
}

// followScope compares index, hypervisor and scope whenever one of them may have
// changed, until the connection is lost.
func (c *Controller) followScope(ctx context.Context, s *scope) {
	c.setScope(s)
	signal(c.domainState)
	defer func() {
		c.setScope(nil)
		s.mirror.Close()
	}()
	resync := time.NewTicker(c.o.Resync)
	defer resync.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		all := false
		select {
		case <-s.look:
		case <-s.relook:
			all = true
		case <-retry.C:
			all = true
		case <-resync.C:
			s.mirror.Scrub()
			all = true
		case <-s.mirror.Lost():
			return
		case <-ctx.Done():
			return
		}
		if err := c.compare(ctx, s, all); err != nil && ctx.Err() == nil {
			c.o.Logger.Warn("cannot list this host's guests", "err", err)
			retry.Reset(time.Second)
		}
	}
}

func (c *Controller) setScope(s *scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scope = s
}

// compare finds the VMs that are in the index or run here, and has those looked at
// that were not known yet, or all of them.
func (c *Controller) compare(ctx context.Context, s *scope, all bool) error {
	now := map[string]bool{}
	s.mirror.Read(func(t schema.Tree) {
		for _, uuid := range t.Children(schema.Node(s.node, schema.NodeVMs)) {
			now[uuid] = true
		}
	})
	domains, err := c.o.Hypervisor.List(ctx)
	if err == nil {
		for _, d := range domains {
			now[d.UUID] = true
		}
	} else { // the index alone must not wait for a hypervisor that is down
		maps.Copy(now, s.watched())
	}
	fresh, gone := s.watch(now)
	for _, uuid := range gone {
		s.followVolumes(uuid, nil)
	}
	if all {
		fresh = slices.Collect(maps.Keys(now))
	}
	c.queue.Add(fresh...)
	return err
}

// watch mirrors exactly these VMs and returns those that were not mirrored before, and
// those that are not any more.
func (s *scope) watch(now map[string]bool) (fresh, gone []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for uuid := range s.vms {
		if !now[uuid] {
			s.mirror.Remove(schema.VM(uuid), schema.Claim(uuid))
			gone = append(gone, uuid)
		}
	}
	for uuid := range now {
		if !s.vms[uuid] {
			s.mirror.Add(schema.VM(uuid), schema.Claim(uuid))
			fresh = append(fresh, uuid)
		}
	}
	s.vms = now
	return fresh, gone
}

func (s *scope) watched() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.vms)
}

// records returns what is on record of a VM.
func (s *scope) records(ctx context.Context, uuid string) (w Wanted, crashes model.Crashes, indexed bool, err error) {
	if err = s.mirror.Barrier(ctx, view.GroupOf(schema.VM(uuid))); err != nil {
		return w, crashes, false, err
	}
	s.mirror.Read(func(t schema.Tree) {
		var whole bool
		w.VM, whole, err = schema.DecodeVM(t, uuid)
		if _, _, there := t.Data(schema.VM(uuid)); there && !whole {
			// An old client deletes key by key. Until the last one is gone, or if somebody
			// has emptied one, this says nothing about what is wanted of a guest.
			err = errs.Conflictf("its record is incomplete")
		}
		if d, v, ok := t.Data(schema.Claim(uuid)); ok {
			var unreadable error
			w.Claim, unreadable = schema.DecodeClaim(d)
			w.claimVersion = v
			err = cmp.Or(err, unreadable)
		}
		if d, _, ok := t.Data(schema.VM(uuid, schema.VMCrashes)); ok {
			crashes = schema.DecodeCrashes(d)
		}
		_, indexed = slices.BinarySearch(t.Children(schema.Node(s.node, schema.NodeVMs)), uuid)
	})
	return w, crashes, indexed, err
}

// domainWish is the domain state of this node as recorded, and its version: the same
// wish again is a new one. The state is empty while it is unknown.
func (c *Controller) domainWish() (state model.DomainState, version int32) {
	_, s, ok := c.current()
	if !ok {
		return "", 0
	}
	var text string
	s.mirror.Read(func(t schema.Tree) { text, version, _ = t.Data(schema.Node(s.node, schema.NodeDomainState)) })
	return model.DomainState(schema.Text(text)), version
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
