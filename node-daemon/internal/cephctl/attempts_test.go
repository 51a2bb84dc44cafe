package cephctl

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/fake"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/cephctl/osd"
)

var lost = errs.New(errs.Unknown, "the answer was lost")

// TestADecisionDependsOnWhatWasThereBefore lists what is found and what follows.
func TestADecisionDependsOnWhatWasThereBefore(t *testing.T) {
	image := func(name string, size uint64) *ceph.Image { return &ceph.Image{ID: "1", Name: name, Size: size} }
	add := command.VolumeAdd{Pool: "p", Volume: "v", Size: 5}
	rename := command.VolumeRename{Pool: "p", Volume: "v", Name: "w"}
	begun := &note{Image: "1", Absent: true, Snapshot: 7}
	withSnapshot := &ceph.Image{ID: "1", Name: "v", Snapshots: []ceph.Snapshot{{ID: 7, Name: "s"}}}
	remade := &ceph.Image{ID: "1", Name: "v", Snapshots: []ceph.Snapshot{{ID: 8, Name: "s"}}}
	kept := &ceph.Image{ID: "1", Name: "v", Snapshots: []ceph.Snapshot{{ID: 7, Name: "s", Protected: true}}}
	const ok = errs.Kind(99)
	for name, c := range map[string]struct {
		decide func() (bool, error)
		act    bool
		kind   errs.Kind
	}{
		"add, nothing there":         {func() (bool, error) { return decideVolumeAdd(nil, nil, add) }, true, ok},
		"add, taken":                 {func() (bool, error) { return decideVolumeAdd(nil, image("v", 5), add) }, false, errs.Conflict},
		"add again, nothing there":   {func() (bool, error) { return decideVolumeAdd(begun, nil, add) }, true, ok},
		"add again, done":            {func() (bool, error) { return decideVolumeAdd(begun, image("v", 5), add) }, false, ok},
		"add again, somebody else's": {func() (bool, error) { return decideVolumeAdd(begun, image("v", 6), add) }, false, errs.Conflict},
		"rename":                     {func() (bool, error) { return decideRename(nil, image("v", 5), rename) }, true, ok},
		"rename to itself": {func() (bool, error) {
			return decideRename(nil, image("w", 5), command.VolumeRename{Volume: "w", Name: "w"})
		}, false, errs.Invalid},
		"rename again, not done":          {func() (bool, error) { return decideRename(begun, image("v", 5), rename) }, true, ok},
		"rename again, done":              {func() (bool, error) { return decideRename(begun, image("w", 5), rename) }, false, ok},
		"rename again, by somebody else":  {func() (bool, error) { return decideRename(begun, image("x", 5), rename) }, false, errs.Conflict},
		"rename again, gone":              {func() (bool, error) { return decideRename(begun, nil, rename) }, false, errs.NotFound},
		"snapshot":                        {addSnapshot(nil, image("v", 5)), true, ok},
		"snapshot, taken":                 {addSnapshot(nil, withSnapshot), false, errs.Conflict},
		"snapshot again, not done":        {addSnapshot(begun, image("v", 5)), true, ok},
		"snapshot again, done":            {addSnapshot(begun, withSnapshot), false, ok},
		"snapshot again, image gone":      {addSnapshot(begun, nil), false, errs.NotFound},
		"no snapshot":                     {removeSnapshot(nil, image("v", 5)), false, errs.NotFound},
		"drop snapshot":                   {removeSnapshot(nil, withSnapshot), true, ok},
		"drop snapshot, protected":        {removeSnapshot(nil, kept), false, errs.Conflict},
		"drop snapshot again, not done":   {removeSnapshot(begun, withSnapshot), true, ok},
		"drop snapshot again, done":       {removeSnapshot(begun, image("v", 5)), false, ok},
		"drop snapshot again, remade":     {removeSnapshot(begun, remade), false, ok},
		"drop snapshot again, image gone": {removeSnapshot(begun, nil), false, ok},
		"pool":                            {addPool(nil, nil), true, ok},
		"pool, taken":                     {addPool(nil, &ceph.Pool{PGs: 8}), false, errs.Conflict},
		"pool again, done":                {addPool(begun, &ceph.Pool{PGs: 8}), true, ok},
		"pool again, somebody else's":     {addPool(begun, &ceph.Pool{PGs: 9}), false, errs.Conflict},
	} {
		act, err := c.decide()
		if act != c.act || (err == nil) != (c.kind == ok) || err != nil && !errs.Is(err, c.kind) {
			t.Errorf("%s: act %v, %v", name, act, err)
		}
	}
}

func addSnapshot(n *note, i *ceph.Image) func() (bool, error) {
	return func() (bool, error) {
		made, err := decideSnapshotAdd(n, i, command.SnapshotAdd{Pool: "p", Volume: "v", Snapshot: "s"})
		return made == nil && err == nil, err
	}
}

func removeSnapshot(n *note, i *ceph.Image) func() (bool, error) {
	return func() (bool, error) {
		s, err := decideSnapshotRemove(n, i, command.SnapshotRemove{Pool: "p", Volume: "v", Snapshot: "s"})
		return s != nil, err
	}
}

func addPool(n *note, p *ceph.Pool) func() (bool, error) {
	return func() (bool, error) {
		err := decidePoolAdd(n, p, command.PoolAdd{Pool: "p", PGs: 8})
		return err == nil, err
	}
}

// deed is a command, and the call by which it is done.
type deed struct {
	args   command.Args
	method fake.Method
}

// deeds are the commands that change something, in an order in which each can be done,
// and the call by which it is done.
var deeds = []deed{
	{command.PoolAdd{Pool: "vms", PGs: 8}, fake.CreatePool},
	{command.VolumeAdd{Pool: "vms", Volume: "a", Size: 8 * mib}, fake.CreateImage},
	{command.VolumeResize{Pool: "vms", Volume: "a", Size: 16 * mib}, fake.ResizeImage},
	{command.SnapshotAdd{Pool: "vms", Volume: "a", Snapshot: "s"}, fake.CreateSnapshot},
	{command.SnapshotRemove{Pool: "vms", Volume: "a", Snapshot: "s"}, fake.RemoveSnapshot},
	{command.VolumeRename{Pool: "vms", Volume: "a", Name: "b"}, fake.RenameImage},
	{command.VolumeRemove{Pool: "vms", Volume: "b"}, fake.RemoveImage},
	{command.PoolRemove{Pool: "vms"}, fake.RemovePool},
}

// TestALostAnswerIsLookedForAndNothingIsDoneTwice has every answer of Ceph to a change
// vanish: the second attempt finds that it was done.
func TestALostAnswerIsLookedForAndNothingIsDoneTwice(t *testing.T) {
	c := fake.NewWorld().Connect()
	for _, d := range deeds {
		var written json.RawMessage
		attempt := func(n int) error {
			task := bareTask(c)
			task.Number, task.Remember = n, func(_ context.Context, v any) (err error) { written, err = json.Marshal(v); return err }
			if written != nil {
				task.note = &note{}
				if err := json.Unmarshal(written, task.note); err != nil {
					t.Fatal(err)
				}
			}
			_, err := task.run(t.Context(), d.args)
			return err
		}
		before := c.Calls(d.method)
		c.LoseAnswer(d.method, lost)
		if err := attempt(1); !errs.Is(err, errs.Unknown) {
			t.Errorf("%s, answer lost: %v", d.args.Verb(), err)
		}
		c.LoseAnswer(d.method, nil)
		if err := attempt(2); err != nil {
			t.Errorf("%s, again: %v", d.args.Verb(), err)
		}
		want := 1
		if d.method == fake.RemoveImage {
			want = 2 // by its id: a half of it may lie in the trash
		}
		if n := c.Calls(d.method) - before; n != want {
			t.Errorf("%s: %s was called %d times", d.args.Verb(), d.method, n)
		}
	}
}

// TestNothingIsChangedBeforeTheClaim: when it fails, no verb calls what changes anything.
func TestNothingIsChangedBeforeTheClaim(t *testing.T) {
	world := fake.NewWorld()
	c := world.Connect()
	world.AddOSD(ceph.OSD{ID: 0, UUID: "u", Up: true, In: true, Host: "hv1", Weight: 1, Reweight: 1})
	taken := errs.Conflictf("another host has the command")
	attempt := func(args command.Args, refused error) error {
		task := bareTask(c)
		task.executor.OSDs = &osd.Host{Node: "hv1"}
		task.Begin = func(context.Context) error { return refused }
		task.Remember = func(context.Context, any) error { return refused }
		_, err := task.run(t.Context(), args)
		return err
	}
	all := append(slices.Clone(deeds), []deed{
		{command.OSDSet{Flag: "noout"}, fake.SetFlag}, {command.OSDUnset{Flag: "noout"}, fake.SetFlag},
		{command.OSDOut{OSD: 0}, fake.SetOSDIn}, {command.OSDIn{OSD: 0}, fake.SetOSDIn},
	}...)
	for _, d := range all {
		before := c.Calls(d.method)
		if err := attempt(d.args, taken); !errs.Is(err, errs.Conflict) || c.Calls(d.method) != before {
			t.Errorf("%s without a claim: %v, %s was called %d times", d.args.Verb(), err, d.method, c.Calls(d.method)-before)
		}
		if err := attempt(d.args, nil); err != nil || c.Calls(d.method) != before+1 {
			t.Errorf("%s with a claim: %v", d.args.Verb(), err)
		}
	}
	if err := attempt(command.OSDAdd{Node: "hv1", Device: "/dev/sdb", UUID: "u2"}, taken); !errs.Is(err, errs.Conflict) || c.Calls(fake.NewOSD) > 0 {
		t.Errorf("osd_add without a claim: %v", err)
	}
}

// TestACommandEndsOnceWhereverItsExecutorIsLost has the executor freeze right before and
// after its call to Ceph, for every verb; another host takes over, then it goes on.
func TestACommandEndsOnceWhereverItsExecutorIsLost(t *testing.T) {
	for _, step := range []string{"within", command.StepExecuted} { // the others know nothing of verbs: package command tries them
		t.Run(step, func(t *testing.T) { loseExecutors(t, step) })
	}
}

func loseExecutors(t *testing.T, step string) {
	l := newLab(t)
	world := fake.NewWorld()
	for n, d := range deeds {
		name := fmt.Sprintf("hv%d", n+2)
		c := world.Connect()
		h := l.host(name, c)
		reached := h.hold(step)
		if step == "within" {
			c.Before(d.method, func(string) { h.step(step) })
		}
		sent, err := l.queue.Submit(t.Context(), command.Request{Args: d.args, Node: name, Any: true})
		if err != nil {
			t.Fatal(err)
		}
		reach(t, step, reached)
		rescue := l.host(fmt.Sprintf("rescue%d", n), world.Connect())
		h.proxy.Stall()
		ctx, cancel := context.WithTimeout(t.Context(), coordtest.Patience)
		_, err = l.queue.Wait(ctx, sent)
		cancel()
		if err != nil {
			t.Fatalf("%s, executor lost at %s: %v", d.args.Verb(), step, err)
		}
		before := l.keys(schema.Ceph)
		h.proxy.Flow()
		h.openGates()
		reach(t, "the end of its registration", h.session.Lost())
		h.stop()
		rescue.stop()
		rescue.session.client.Close()
		l.removeNode(name) // then no name stays reserved
		if after := l.keys(schema.Ceph); !slices.Equal(before, after) {
			t.Errorf("%s: the lost executor changed records: %v, then %v", d.args.Verb(), before, after)
		}
	}
	if left := l.keys(schema.CephVolumes); len(left) > 0 {
		t.Errorf("records are left: %v", left)
	}
}

// TestAReCreatedImageIsSafeFromTheFirstRemoval: the executor of a removal is stopped right
// before the call, the command is taken over, the user makes the volume again, and the
// executor goes on.
func TestAReCreatedImageIsSafeFromTheFirstRemoval(t *testing.T) {
	l := newLab(t)
	_, hosts, clients := l.fakeHosts("hv1", "hv2")
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	l.must(command.VolumeAdd{Pool: "vms", Volume: "a", Size: 8 * mib})
	reached := hosts[0].hold("within")
	clients[0].Before(fake.RemoveImage, func(string) { hosts[0].step("within") })
	sent, err := l.queue.Submit(t.Context(), command.Request{Args: command.VolumeRemove{Pool: "vms", Volume: "a"}, Node: "hv1", Any: true})
	if err != nil {
		t.Fatal(err)
	}
	reach(t, "the removal", reached)
	hosts[0].proxy.Stall()
	if _, err := l.queue.Wait(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	if _, err := l.queue.Do(t.Context(), command.Request{Args: command.VolumeAdd{Pool: "vms", Volume: "a", Size: 4 * mib}, Node: "hv2"}); err != nil {
		t.Fatal(err)
	}
	again, err := clients[1].Image(t.Context(), "vms", "a")
	if err != nil {
		t.Fatal(err)
	}
	hosts[0].proxy.Flow()
	hosts[0].openGates()
	reach(t, "the end of its registration", hosts[0].session.Lost())
	hosts[0].stop()
	if now, err := clients[1].Image(t.Context(), "vms", "a"); err != nil || now.ID != again.ID {
		t.Errorf("the new image is %+v, %v", now, err)
	}
	l.until(l.view, "the new record", func(s *view.Snapshot) bool {
		v, ok := s.Volume("vms", "a")
		return ok && v.Stats != nil && v.Stats.ID == again.ID
	})
}

// TestAnAttemptDoesNotGoOnUnderAnotherConnection: while the executor is frozen, other work of its
// daemon has replaced the connection that was fenced. What the user has removed meanwhile
// does not come back.
func TestAnAttemptDoesNotGoOnUnderAnotherConnection(t *testing.T) {
	l := newLab(t)
	_, hosts, clients := l.fakeHosts("hv1", "hv2")
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	reached := hosts[0].hold("within")
	clients[0].Before(fake.CreateImage, func(string) { hosts[0].step("within") })
	sent, err := l.queue.Submit(t.Context(), command.Request{Args: command.VolumeAdd{Pool: "vms", Volume: "a", Size: 8 * mib}, Node: "hv1", Any: true})
	if err != nil {
		t.Fatal(err)
	}
	reach(t, "the creation", reached)
	hosts[0].proxy.Stall()
	if _, err := l.queue.Wait(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	if _, err := l.queue.Do(t.Context(), command.Request{Args: command.VolumeRemove{Pool: "vms", Volume: "a"}, Node: "hv2"}); err != nil {
		t.Fatal(err)
	}
	old, err := clients[0].Clients(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if now, err := clients[0].Clients(t.Context()); err != nil || !slices.Equal(old, now) {
		t.Fatalf("its clients are %v, then %v, %v", old, now, err)
	}
	hosts[0].proxy.Flow()
	hosts[0].openGates()
	reach(t, "the end of its registration", hosts[0].session.Lost())
	hosts[0].stop()
	if images, err := clients[1].Images(t.Context(), "vms"); err != nil || len(images) > 0 {
		t.Errorf("it came back: %+v, %v", images, err)
	}
}

// TestAHalfRemovedImageIsRemovedAndNothingElse: its data goes with the second attempt, or, where
// somebody else has begun, with the first one that is asked for under the name of its record.
func TestAHalfRemovedImageIsRemovedAndNothingElse(t *testing.T) {
	l := newLab(t)
	world, hosts, clients := l.fakeHosts("hv1")
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	half := func(name string) string {
		l.must(command.VolumeAdd{Pool: "vms", Volume: name, Size: 8 * mib})
		i, err := clients[0].Image(t.Context(), "vms", name)
		if err != nil || !world.HalfRemove("vms", i.ID) {
			t.Fatal(err)
		}
		return i.ID
	}
	half("begun")
	l.must(command.VolumeRemove{Pool: "vms", Volume: "begun"})
	l.fails(command.VolumeRemove{Pool: "vms", Volume: "begun"}, errs.NotFound)

	taken := half("taken")
	if _, err := clients[0].CreateImage(t.Context(), "vms", "taken", 4*mib); err != nil {
		t.Fatal(err)
	}
	second := bareTask(clients[0])
	second.Number, second.note = 2, &note{Image: taken}
	if _, err := second.run(t.Context(), command.VolumeRemove{Pool: "vms", Volume: "taken"}); err != nil {
		t.Error(err)
	}

	l.must(command.VolumeAdd{Pool: "vms", Volume: "moved", Size: 8 * mib})
	moved, err := clients[0].Image(t.Context(), "vms", "moved")
	if err == nil {
		err = clients[0].RenameImage(t.Context(), "vms", moved.ID, "elsewhere")
	}
	if err != nil {
		t.Fatal(err)
	}
	l.fails(command.VolumeRemove{Pool: "vms", Volume: "moved"}, errs.NotFound)
	hosts[0].stop()
	images, err := clients[0].Images(t.Context(), "vms")
	if err != nil || len(images) != 2 || images[0].Name != "elsewhere" || images[1].Name != "taken" || images[1].ID == taken {
		t.Errorf("left: %+v, %v", images, err)
	}
}

// TestAnExecutorThatIsFencedHoldsNoImage though OSDs show it as a watcher for a moment longer;
// anybody else does.
func TestAnExecutorThatIsFencedHoldsNoImage(t *testing.T) {
	const lost, other, ok = "192.0.2.9:0/1", "192.0.2.8:0/7", errs.Kind(99)
	for _, tc := range []struct {
		watchers       []string
		rename, remove errs.Kind
	}{
		{[]string{lost}, ok, ok},
		{[]string{lost, other}, errs.Conflict, errs.Conflict},
		{nil, ok, ok},
	} {
		world := fake.NewWorld()
		world.Blocklist(lost, ceph.FenceTime)
		c := world.Connect()
		if _, err := c.CreatePool(t.Context(), "vms", 8); err != nil {
			t.Fatal(err)
		}
		i, err := c.CreateImage(t.Context(), "vms", "a", 8*mib)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range tc.watchers {
			world.Watch("vms", i.ID, w)
		}
		attempt := func(args command.Args) error {
			task := bareTask(c)
			task.Number, task.note, task.fenced = 2, &note{Image: i.ID}, []string{lost, "192.0.2.9:0/2"}
			_, err := task.run(t.Context(), args)
			return err
		}
		is := func(what string, want errs.Kind, got error) {
			if (got == nil) != (want == ok) || got != nil && !errs.Is(got, want) {
				t.Errorf("%s while %v have it open: %v", what, tc.watchers, got)
			}
		}
		is("renamed", tc.rename, attempt(command.VolumeRename{Pool: "vms", Volume: "a", Name: "b"}))
		is("removed", tc.remove, attempt(command.VolumeRemove{Pool: "vms", Volume: "a"}))
	}
}

// TestALateCommandForAMonitorUndoesNothing: the executor freezes after its looks and before its
// command for the monitor, which a fence does not stop. What it is about is not touched before
// it has gone on, and then is what the user wants.
func TestALateCommandForAMonitorUndoesNothing(t *testing.T) {
	for _, tc := range []late{
		{command.PoolRemove{Pool: "vms"}, fake.RemovePool, command.PoolAdd{Pool: "vms", PGs: 16}, "pool vms 16, in 0"},
		{command.PoolAdd{Pool: "new", PGs: 8}, fake.CreatePool, command.PoolRemove{Pool: "new"}, "pool vms 8, in 0"},
		{command.OSDSet{Flag: "noout"}, fake.SetFlag, command.OSDUnset{Flag: "noout"}, "pool vms 8, in 0"},
		{command.OSDUnset{Flag: "noin"}, fake.SetFlag, command.OSDSet{Flag: "noin"}, "pool vms 8, flag noin, in 0"},
		{command.OSDOut{OSD: 0}, fake.SetOSDIn, command.OSDIn{OSD: 0}, "pool vms 8, in 0"},
		{command.OSDIn{OSD: 0}, fake.SetOSDIn, command.OSDOut{OSD: 0}, "pool vms 8, out 0"},
	} {
		t.Run(string(tc.args.Verb()), func(t *testing.T) { tc.goOn(t) })
	}
}

// late is a command that comes late, by that call, and the user's, after which there is what.
type late struct {
	args   command.Args
	method fake.Method
	again  command.Args
	want   string // see function there
}

func (tc late) goOn(t *testing.T) {
	l := newLab(t)
	world, hosts, clients := l.fakeHosts("hv1", "hv2")
	world.AddOSD(ceph.OSD{ID: 0, UUID: "u", Up: true, In: true, Host: "hv1", Weight: 1, Reweight: 1})
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	reached := hosts[0].hold("sending")
	clients[0].BeforeSending(tc.method, func(string) { hosts[0].step("sending") })
	sent, err := l.queue.Submit(t.Context(), command.Request{Args: tc.args, Node: "hv1", Any: true})
	if err != nil {
		t.Fatal(err)
	}
	reach(t, "the command for the monitor", reached)
	hosts[0].proxy.Stall()
	if _, err := l.queue.Wait(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	do := func() error {
		_, err := l.queue.Do(t.Context(), command.Request{Args: tc.again, Node: "hv2"})
		return err
	}
	if err := do(); !errs.Is(err, errs.Conflict) || !contains(err, "is reserved") {
		t.Fatalf("while it is frozen: %v", err)
	}

	hosts[0].proxy.Flow()
	reach(t, "the end of its registration", hosts[0].session.Lost())
	// The same process registers while its late command is still to be sent.
	anew := l.hostAs(hosts[0].session.instance, "hv1", clients[0])
	if err := do(); !errs.Is(err, errs.Conflict) || !contains(err, "is reserved") {
		t.Fatalf("before it was sent: %v", err)
	}
	hosts[0].openGates()
	hosts[0].stop()
	l.until(l.view, "it is free", func(s *view.Snapshot) bool { c, ok := s.Command(sent.ID); return ok && len(c.Lost) == 0 })
	if err := do(); err != nil {
		t.Error(err)
	}
	anew.stop()
	if got := there(t, clients[1]); got != tc.want || len(world.Blocklisted()) == 0 {
		t.Errorf("there is %s, want %s; fenced: %v", got, tc.want, world.Blocklisted())
	}
}

// there is what there is in Ceph beside images.
func there(t *testing.T, c *fake.Client) string {
	t.Helper()
	var all []string
	pools, err := c.Pools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pools {
		all = append(all, fmt.Sprint("pool ", p.Name, " ", p.PGs))
	}
	flags, err := c.Flags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flags {
		if f != "sortbitwise" { // which every cluster has
			all = append(all, "flag "+f)
		}
	}
	osds, err := c.OSDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range osds {
		all = append(all, fmt.Sprint(map[bool]string{true: "in ", false: "out "}[o.In], o.ID))
	}
	return strings.Join(all, ", ")
}

// TestTheRecordOfAnotherObjectStays: a later attempt finds that its own object is gone, and
// that the name belongs to something else by now.
func TestTheRecordOfAnotherObjectStays(t *testing.T) {
	l := newLab(t)
	_, hosts, clients := l.fakeHosts("hv1")
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	l.must(command.VolumeAdd{Pool: "vms", Volume: "a", Size: 8 * mib})
	l.must(command.SnapshotAdd{Pool: "vms", Volume: "a", Snapshot: "s"})
	image, err := clients[0].Image(t.Context(), "vms", "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args command.Args
		note note
	}{
		{command.VolumeRemove{Pool: "vms", Volume: "a"}, note{Image: "other"}},
		{command.SnapshotRemove{Pool: "vms", Volume: "a", Snapshot: "s"}, note{Image: "other", Snapshot: image.Snapshots[0].ID}},
		{command.SnapshotRemove{Pool: "vms", Volume: "a", Snapshot: "s"}, note{Image: image.ID, Snapshot: 99}},
		{command.PoolRemove{Pool: "vms"}, note{Pool: 99}},
	} {
		task := bareTask(clients[0])
		task.Number, task.note = 2, &tc.note
		out, err := task.run(t.Context(), tc.args)
		if err != nil {
			t.Errorf("%s: %v", tc.args.Verb(), err)
			continue
		}
		hosts[0].view.Read(func(s *view.Snapshot) {
			if txn, err := out.Records(s); err != nil || len(txn.Ops) > 0 {
				t.Errorf("%s with %+v changes records of others: %+v, %v", tc.args.Verb(), tc.note, txn.Ops, err)
			}
		})
	}
	if again, err := clients[0].Image(t.Context(), "vms", "a"); err != nil || len(again.Snapshots) != 1 {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestUnavailableIsOnlyWhatChangedNothing: once an attempt has begun to change something,
// the next one finds out.
func TestUnavailableIsOnlyWhatChangedNothing(t *testing.T) {
	c := fake.NewWorld().Connect()
	down := errs.Unavailablef("Ceph does not answer")
	e := &Executor{Cluster: c, View: view.New(view.Options{}), Logger: quiet}
	me, err := e.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		number int
		note   *note
		client string
		want   errs.Kind
	}{
		"first attempt":                   {1, nil, me, errs.Unavailable},
		"later one, nothing begun":        {2, nil, me, errs.Unavailable},
		"later one":                       {2, &note{}, me, errs.Unknown},
		"connection replaced underneath":  {1, nil, "192.0.2.9:0/1", errs.Unknown},
		"first attempt after it was sent": {1, &note{}, me, errs.Unavailable},
	} {
		k := &task{executor: e, Attempt: command.Attempt{Number: tt.number, Client: tt.client}, note: tt.note}
		if got := k.settle(t.Context(), down); !errs.Is(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	k := &task{executor: e, Attempt: command.Attempt{Number: 2}, note: &note{}}
	for _, err := range []error{nil, errs.Conflictf("no"), lost} {
		if got := k.settle(t.Context(), err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestWhatCannotBeReadOfAnEarlierAttemptStopsTheNext(t *testing.T) {
	c := fake.NewWorld().Connect()
	e := &Executor{Cluster: c, View: view.New(view.Options{}), Logger: quiet}
	_, err := e.Execute(t.Context(), &model.Command{Verb: "volume_remove", Args: []byte(`{"pool":"p","volume":"v"}`)}, command.Attempt{Number: 2, Note: []byte(`[]`)})
	if !errs.Is(err, errs.Internal) || c.Calls(fake.RemoveImage) > 0 {
		t.Errorf("%v", err)
	}
}

// TestAHostThatWasFencedItselfFencesUnderItsNewName at once.
func TestAHostThatWasFencedItselfFencesUnderItsNewName(t *testing.T) {
	world := fake.NewWorld()
	e := &Executor{Cluster: world.Connect()}
	me, err := e.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Executor{Cluster: world.Connect()}).Fence(t.Context(), me); err != nil {
		t.Fatal(err)
	}
	if err := e.Fence(t.Context(), "192.0.2.8:0/1,192.0.2.8:0/2"); err != nil {
		t.Error(err)
	}
	if listed := world.Blocklisted(); len(listed) != 4 {
		t.Errorf("fenced: %v", listed)
	}
	if now, err := e.Client(t.Context()); err != nil || now == me {
		t.Errorf("its client is still %s, %v", now, err)
	}
}

func TestACephThatIsSilentIsNamed(t *testing.T) {
	c := fake.NewWorld().Connect()
	c.Fail(fake.Clients, errs.Unavailablef("ETIMEDOUT: timed out"))
	if _, err := (&Executor{Cluster: c}).Client(t.Context()); !errs.Is(err, errs.Unavailable) || !contains(err, "Ceph does not answer") {
		t.Error(err)
	}
}
