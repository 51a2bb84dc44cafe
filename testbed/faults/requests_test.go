package faults_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/faults"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
)

// stopped says what is missing until nothing is left of a guest but its record.
func (v *vm) stopped(t *testing.T) error {
	r, err := v.records(t.Context())
	if err == nil && (r.state != "stop" || r.claim != nil || r.migration != nil || len(processes(v.uuid)) > 0) {
		err = fmt.Errorf("processes %v; %s", processes(v.uuid), r)
	}
	return err
}

// refused sends a request that has to be refused, with these words in the answer.
func (v *vm) refused(t *testing.T, words, path string, values ...string) {
	t.Helper()
	status, body, err := v.request(t.Context(), http.MethodPost, path, values...)
	if err != nil || status != 510 || !strings.Contains(body, words) {
		t.Errorf("%s %v: %d %s %v, want 510 with %q", path, values, status, body, err, words)
	}
}

// TestRequestsBesideAMigration goes through them with one guest.
func TestRequestsBesideAMigration(t *testing.T) {
	needLab(t)
	m := &move{vm: newVM(t, lab, "ff-requests", lab.Host(1)), source: lab.Host(1), target: lab.Host(2)}
	t.Run("UnmigrateBringsAGuestHome", m.unmigrate)
	t.Run("ASecondMigrationIsRefusedAndAStartChangesNothing", m.refuseSecond)
	t.Run("AStopAbortsTheTransfer", func(t *testing.T) { m.endInTransfer(t, "stop") })
	if long {
		t.Run("AShutdownAbortsTheTransfer", func(t *testing.T) { m.endInTransfer(t, "shutdown") })
	} else {
		t.Log("the shutdown during a transfer is left to PVC_TEST_LONG=1")
	}
	t.Run("ADeleteLeavesNothing", m.deleteInTransfer)
	if err := faults.Once(m.witness.History()); err != nil {
		t.Error(err)
	}
}

func (m *move) unmigrate(t *testing.T) {
	m.refused(t, "not migrated", m.path("/node"), "action", "unmigrate")
	m.call(t, http.MethodPost, m.path("/node"), "action", "migrate", "node", m.target.Name, "force_live", "true", "wait", "true")
	if r, err := m.records(t.Context()); err != nil || r.node != m.target.Name || r.lastNode != m.source.Name {
		t.Errorf("after migrate: %v, %s", err, r)
	}
	m.refused(t, "migrated already", m.path("/node"), "action", "migrate", "node", lab.Host(3).Name)
	m.call(t, http.MethodPost, m.path("/node"), "action", "unmigrate", "wait", "true")
	if r, err := m.records(t.Context()); err != nil || r.node != m.source.Name || r.lastNode != "" {
		t.Errorf("after unmigrate: %v, %s", err, r)
	}
	if node := m.waitSettled(t); node != m.source.Name {
		t.Errorf("it runs on %s", node)
	}
	m.writes(t) // by the same boot, without a hole
}

func (m *move) refuseSecond(t *testing.T) {
	reachTransfer(t, m)
	m.refused(t, "in state migrate", m.path("/node"), "action", "move", "node", lab.Host(3).Name)
	m.call(t, http.MethodPost, m.path("/state"), "state", "start")
	if node := m.waitSettled(t); node != m.target.Name {
		t.Errorf("it runs on %s", node)
	}
	m.writes(t)
	m.source, m.target = m.target, m.source
}

// endInTransfer asks for an end during a transfer, and starts the guest again.
func (m *move) endInTransfer(t *testing.T, state string) {
	reachTransfer(t, m)
	m.call(t, http.MethodPost, m.path("/state"), "state", state, "wait", "true")
	within(t, "it is stopped", func() error { return m.stopped(t) })
	if r, err := m.records(t.Context()); err != nil || r.node != m.source.Name {
		t.Errorf("it is assigned to %s: %v", r.node, err)
	}
	m.call(t, http.MethodPost, m.path("/state"), "state", "start", "wait", "true")
}

func (m *move) deleteInTransfer(t *testing.T) {
	reachTransfer(t, m)
	m.call(t, http.MethodDelete, m.path(""))
	m.removed = true
	t.Cleanup(func() { m.zk.Close() })
	within(t, "nothing is left", func() error {
		r, err := m.records(t.Context())
		if err == nil && (r.state != "" || r.claim != nil || len(processes(m.uuid)) > 0) {
			err = fmt.Errorf("processes %v; %s", processes(m.uuid), r)
		}
		return err
	})
}

// tiny defines and starts a guest without a disk, or with the one given.
func tiny(t *testing.T, name, xml string) *vm {
	t.Helper()
	needLab(t)
	v := prepare(t, lab, name)
	if xml == "" {
		xml = guest.Tick(guest.Options{Name: name, UUID: v.uuid, Images: images, Log: "/var/log/libvirt/" + name + ".log"})
	}
	v.startFrom(t, strings.Replace(xml, "UUID", v.uuid, 1), lab.Host(1))
	v.waitSettled(t)
	return v
}

// TestAGuestThatCannotGoLiveIsMovedByShutdownAndStart lets the third host forget the
// guest's machine type.
//
// decision: migrate
// decision: `force_live`
// decision: what prevents live migration
func TestAGuestThatCannotGoLiveIsMovedByShutdownAndStart(t *testing.T) {
	v := tiny(t, "ff-cold", "")
	there := lab.Host(3).Name
	v.editFacts(t, there, func(f *model.NodeFacts) { f.Machines = []string{"pc-q35-99.0"} })
	v.refused(t, "machine type pc", v.path("/node"), "action", "move", "node", there, "force_live", "true")
	if node, err := v.settled(t.Context()); err != nil || node != lab.Host(1).Name {
		t.Errorf("after the refusal: %s %v", node, err)
	}
	answer := v.call(t, http.MethodPost, v.path("/node"), "action", "move", "node", there, "wait", "true")
	if !strings.Contains(answer, "by shutdown and start, because") {
		t.Errorf("the answer does not say how: %s", answer)
	}
	if node := v.waitSettled(t); node != there {
		t.Errorf("it runs on %s", node)
	}
	if err := faults.Once(v.witness.History()); err != nil {
		t.Error(err)
	}
}

// editFacts changes what a node has told of itself until the test ends, and waits until
// the API knows.
func (v *vm) editFacts(t *testing.T, node string, change func(*model.NodeFacts)) {
	t.Helper()
	facts, static := schema.Node(node, schema.NodeFacts), schema.Node(node, schema.NodeStaticData)
	factsBefore, err := v.get(t.Context(), facts)
	must(t, err)
	staticBefore, err := v.get(t.Context(), static)
	must(t, err)
	var f model.NodeFacts
	must(t, json.Unmarshal([]byte(factsBefore), &f))
	change(&f)
	factsAfter, err := json.Marshal(f)
	must(t, err)
	client := v.zk
	set := func(facts2, static2 string) error {
		ctx, cancel := cleanup()
		defer cancel()
		_, err := client.Commit(ctx, *new(coord.Txn).
			Set(facts, []byte(facts2), coord.AnyVersion).Set(static, []byte(static2), coord.AnyVersion))
		return err
	}
	// The facts do not show in any answer; the kernel, changed together with them, does.
	must(t, set(string(factsAfter), "2 edited Linux x86_64"))
	t.Cleanup(func() {
		if err := set(factsBefore, staticBefore); err != nil {
			t.Error(err)
		}
	})
	within(t, "the API knows it", func() error {
		if body := v.call(t, http.MethodGet, "/api/v1/node/"+node); !strings.Contains(body, `"kernel":"edited"`) {
			return errors.New(body)
		}
		return nil
	})
}

// decision: local disks
func TestAGuestOnALocalDiskStays(t *testing.T) {
	needLab(t)
	const image = "/var/lib/libvirt/images/ff-local.img"
	here := lab.Host(1).Path(image)
	must(t, os.MkdirAll(filepath.Dir(here), 0o755))
	must(t, os.RemoveAll(here))
	must(t, guest.MakeDisk(here, 1<<20))
	xml := guest.Linux(guest.Options{Name: "ff-local", UUID: "UUID", Images: images, Disk: image, Seq: 100, Log: "/var/log/libvirt/ff-local.log"})
	v := tiny(t, "ff-local", xml)
	for _, values := range [][]string{{"action", "migrate"}, {"action", "move", "node", lab.Host(2).Name}, {"action", "migrate", "force_live", "true"}} {
		v.refused(t, "cannot leave "+lab.Host(1).Name, v.path("/node"), values...)
	}
	if node, err := v.settled(t.Context()); err != nil || node != lab.Host(1).Name {
		t.Errorf("after the refusals: %s %v", node, err)
	}
}

// TestNoMoreGuestsAreSentAtOnceThanConfigured stops the target's libvirtd, so that
// what is begun does not end.
//
// decision: several migrations
func TestNoMoreGuestsAreSentAtOnceThanConfigured(t *testing.T) {
	var all []*vm
	for i := range parallel + 2 {
		all = append(all, tiny(t, fmt.Sprintf("ff-many%d", i), ""))
	}
	_, release := hold(t, lab.Host(1), "send")
	for _, v := range all {
		v.call(t, http.MethodPost, v.path("/node"), "action", "move", "node", lab.Host(2).Name)
	}
	phases := func(want map[model.MigrationPhase]int) func() error {
		return func() error { return comparePhases(t, all, want) }
	}
	within(t, "all are ready to be sent", phases(map[model.MigrationPhase]int{model.MigrationReady: len(all)}))
	must(t, lab.Host(2).Pause(t.Context(), testbed.Libvirtd))
	goOn := func() {
		ctx, cancel := cleanup()
		defer cancel()
		if err := lab.Host(2).Cont(ctx, testbed.Libvirtd); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(goOn)
	release()
	some := phases(map[model.MigrationPhase]int{model.MigrationSending: parallel, model.MigrationReady: len(all) - parallel})
	within(t, "the first are sent", some)
	// Nothing that is sent ends now. Afterwards the records lag behind the transfers.
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for range 10 {
		<-ticker.C
		must(t, some())
	}
	goOn()
	for _, v := range all {
		within(t, v.name+" arrives", func() error {
			node, err := v.settled(t.Context())
			if err == nil && node != lab.Host(2).Name {
				err = errors.New("it runs on " + node)
			}
			return err
		})
		if err := faults.Once(v.witness.History()); err != nil {
			t.Error(err)
		}
	}
}

// comparePhases counts the migrations by phase.
func comparePhases(t *testing.T, all []*vm, want map[model.MigrationPhase]int) error {
	t.Helper()
	got := map[model.MigrationPhase]int{}
	for _, v := range all {
		r, err := v.records(t.Context())
		if err != nil {
			return err
		}
		if r.migration != nil {
			got[r.migration.Phase]++
		}
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("%v, want %v", got, want)
	}
	return nil
}
