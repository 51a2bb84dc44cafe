package cephctl

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/lock"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/fake"
)

func TestARequestOfAnOldClientIsReadOrRefused(t *testing.T) {
	for text, want := range map[string]command.Args{
		"osd_in 3": command.OSDIn{OSD: 3}, "osd_remove 3": command.OSDRemove{OSD: 3}, "osd_out 0": command.OSDOut{OSD: 0}, "osd_set noout": command.OSDSet{Flag: "noout"}, "osd_unset noout": command.OSDUnset{Flag: "noout"},
		"pool_add vms,128": command.PoolAdd{Pool: "vms", PGs: 128}, "pool_remove vms": command.PoolRemove{Pool: "vms"},
		"volume_add vms,disk0,21474836480B":    command.VolumeAdd{Pool: "vms", Volume: "disk0", Size: 20 << 30, Force: true},
		"volume_resize vms,disk0,21474836480B": command.VolumeResize{Pool: "vms", Volume: "disk0", Size: 20 << 30, Force: true},
		"volume_rename vms,disk0,disk1":        command.VolumeRename{Pool: "vms", Volume: "disk0", Name: "disk1"},
		"volume_remove vms,disk0":              command.VolumeRemove{Pool: "vms", Volume: "disk0"},
		"snapshot_add vms,disk0,s":             command.SnapshotAdd{Pool: "vms", Volume: "disk0", Snapshot: "s"},
		"snapshot_remove vms,disk0,s":          command.SnapshotRemove{Pool: "vms", Volume: "disk0", Snapshot: "s"},
	} {
		got, err := parseSlot(text)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", text, err, d)
		}
	}
	for _, text := range []string{
		"x", "pool_add", "pool_add a,b c", "pool_add vms", "volume_add vms,disk0,5G,", "pool_add vms,8,8", "pool_add vms,0", "pool_add vms,8B", "pool_add vms,x", "pool_remove a/b", "volume_add vms,disk0,x", "volume_add vms,disk0,0B",
		"volume_add vms,,5B", "volume_remove vms", "osd_in x", "osd_in -1", "osd_set nothing", "snapshot_add vms,disk0", "osd_add hv1,sdb,1", "osd_add hv1,/dev/sdb,0", "osd_add hv1,/dev/sdb", "osd_remove x", "nothing a,b",
	} {
		if got, err := parseSlot(text); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	got, err := parseSlot("osd_add hv1,/dev/sdb,0.5")
	add, ok := got.(command.OSDAdd)
	if err != nil || !ok || add.Node != "hv1" || add.Device != "/dev/sdb" || add.Weight != 0.5 || add.UUID == "" {
		t.Errorf("osd_add: %+v, %v", got, err)
	}
	for text, want := range map[string]bool{"": false, "None": false, "success-x y": false, "failure-x y": false, "x": true, "osd_in 3": true} {
		if isRequest(text) != want {
			t.Errorf("%q is a request: %v", text, !want)
		}
	}
}

func FuzzParseSlot(f *testing.F) {
	for _, s := range []string{"pool_add vms,8", "volume_add vms,a,5B", "osd_in 3", "a b", " \x00 , ", "volume_rename a,b,c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args, err := parseSlot(s)
		if err == nil {
			err = args.Validate()
		}
		if err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

// oldClient works the slot as the old system's clients do, without their pauses.
type oldClient struct {
	l      *lab
	client coord.Client
	hub    *watch.Hub
}

func (l *lab) oldClient() *oldClient {
	hub := new(watch.Hub)
	return &oldClient{l, coordtest.Dial(l.t, l.zoo.Addrs(), sessionTime, hub.OnEvent), hub}
}

// ask writes a request, waits until somebody has taken the lock and given it back, and
// returns what is in the slot then.
func (o *oldClient) ask(request string) string {
	o.l.t.Helper()
	coordtest.Put(o.l.t, o.client, schema.CephCmd, request)
	coordtest.Eventually(o.l.t, "somebody takes "+request, func() bool {
		text := o.l.data(schema.CephCmd)
		children, _, err := o.client.Children(o.l.t.Context(), schema.CephCmd)
		return err == nil && len(children) > 0 || text != request
	})
	ctx, cancel := context.WithTimeout(o.l.t.Context(), coordtest.Patience)
	defer cancel()
	held, err := lock.Acquire(ctx, o.client, o.hub, schema.CephCmd, lock.Read, "old")
	if err != nil {
		o.l.t.Fatal(err)
	}
	text := o.l.data(schema.CephCmd)
	if err := held.Release(ctx); err != nil {
		o.l.t.Fatal(err)
	}
	return text
}

func (h *host) slot() (stop func()) {
	s := &Slot{Session: h.session, Hub: h.session.hub, View: h.view, Queue: command.NewQueue(h.view), Logger: quiet, began: make(chan struct{})}
	defer func() { reach(h.l.t, "the slot is watched", s.began) }()
	return h.l.background(s.Run)
}

func TestOldClientsGetAReplyToWhatTheyAsk(t *testing.T) {
	l := newLab(t)
	_, hosts, clients := l.fakeHosts("hv1")
	hosts[0].slot()
	old := l.oldClient()
	for _, c := range []struct{ request, prefix string }{
		{"pool_add vms,8", slotSuccess}, {"volume_add vms,a,8388608B", slotSuccess}, {"volume_add vms,a,8388608B", slotFailure},
		{"volume_remove vms,a", slotSuccess}, {"volume_add vms,a,8388608B", slotSuccess}, {"snapshot_add vms,a,s", slotSuccess},
		{"three words here", slotFailure}, {"nothing x", slotFailure}, {"volume_remove vms,none", slotFailure},
		{"osd_remove 3", slotFailure}, {"osd_add nobody,/dev/sdb,1", slotFailure},
	} {
		if got := old.ask(c.request); got != c.prefix+c.request {
			t.Errorf("%q: reply %q", c.request, got)
		}
		coordtest.Put(t, l.conn, schema.CephCmd, "")
	}
	if i, err := clients[0].Image(t.Context(), "vms", "a"); err != nil || len(i.Snapshots) != 1 {
		t.Errorf("%+v, %v", i, err)
	}
	if n := clients[0].Calls(fake.CreateImage); n != 2 {
		t.Errorf("an image was made %d times", n)
	}
}

// TestWhatStandsInTheSlotAtTheStartIsNotDone: neither a request nor its reply.
func TestWhatStandsInTheSlotAtTheStartIsNotDone(t *testing.T) {
	l := newLab(t)
	_, hosts, clients := l.fakeHosts("hv1")
	coordtest.Put(t, l.conn, schema.CephCmd, "pool_add left,8")
	stop := hosts[0].slot()
	old := l.oldClient()
	if got := old.ask("osd_set noout"); got != "success-osd_set noout" { // the next one is served
		t.Errorf("reply %q", got)
	}
	stop()
	coordtest.Put(t, l.conn, schema.CephCmd, "pool_add missed,8")
	hosts[0].slot()
	if got := old.ask("osd_unset noout"); got != "success-osd_unset noout" {
		t.Errorf("reply %q", got)
	}
	if n := clients[0].Calls(fake.CreatePool); n > 0 {
		t.Errorf("%d pools were made", n)
	}
	l.view.Read(func(s *view.Snapshot) {
		for _, c := range s.Commands() {
			if c.Verb == string(command.VerbPoolAdd) {
				t.Errorf("%s %s was queued", c.Verb, c.Args)
			}
		}
	})
}

// TestARequestThatIsOverwrittenGetsNoReplyThatIsNotItsOwn: the one that stands there when
// the first has ended is served next.
func TestARequestThatIsOverwrittenGetsNoReplyThatIsNotItsOwn(t *testing.T) {
	l := newLab(t)
	_, hosts, clients := l.fakeHosts("hv1")
	hosts[0].slot()
	old := l.oldClient()
	if got := old.ask("osd_set noin"); got != "success-osd_set noin" {
		t.Fatal(got)
	}
	under, open := make(chan struct{}), make(chan struct{})
	clients[0].Before(fake.CreatePool, func(name string) {
		if name == "first" {
			close(under)
			<-open
		}
	})
	coordtest.Put(t, l.conn, schema.CephCmd, "pool_add first,8")
	reach(t, "the first is under way", under)
	coordtest.Put(t, l.conn, schema.CephCmd, "pool_add second,8")
	close(open)
	coordtest.Eventually(t, "a reply to the second", func() bool { return l.data(schema.CephCmd) == "success-pool_add second,8" })
	pools, err := clients[0].Pools(t.Context())
	if err != nil || len(pools) != 2 {
		t.Errorf("%v, %v", pools, err)
	}
}
