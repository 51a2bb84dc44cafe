package osd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

const (
	group = "ceph-" + ours
	path  = "/dev/" + group + "/osd-block-" + ours

	noVolumes = `{"report":[{"lv":[]}]}`
	noDevices = `{"report":[{"pv":[]}]}`
	ourDevice = `{"report":[{"pv":[{"pv_name":"/dev/sdb","vg_name":"` + group + `"}]}]}`
)

func volumes(tags string) string {
	return `{"report":[{"lv":[{"lv_path":"` + path + `","vg_name":"` + group + `","lv_tags":"` + tags + `"}]}]}`
}

const ourTags = "ceph.osd_fsid=" + ours + ",ceph.type=block,ceph.encrypted=0,ceph.block_uuid=x"

func step(stdout string, argv ...string) run.Step { return run.Step{Argv: argv, Stdout: stdout} }

func lvsStep(stdout string) run.Step {
	return step(stdout, "lvs", "--reportformat", "json", "--options", "lv_path,vg_name,lv_tags")
}

func pvsStep(stdout string) run.Step {
	return step(stdout, "pvs", "--reportformat", "json", "--options", "pv_name,vg_name")
}

// scripted is a host with LVM that expects these programs.
func scripted(t *testing.T, steps ...run.Step) *Local {
	script := run.NewScript(steps...)
	t.Cleanup(func() {
		if err := script.Left(); err != nil {
			t.Error(err)
		}
	})
	return &Local{Run: script, Conf: "/etc/ceph/ceph.conf", Data: t.TempDir(), Layout: Volume, lvmThere: func() bool { return true }}
}

func makeSteps(interrupted bool) []run.Step {
	steps := []run.Step{lvsStep(noVolumes), pvsStep(ourDevice)}
	if !interrupted {
		steps = []run.Step{lvsStep(noVolumes), pvsStep(noDevices), step("", "vgcreate", "--yes", "--quiet", group, "/dev/sdb")}
	}
	return append(steps,
		step("11111111-2222-3333-4444-555555555555\n", "ceph-conf", "-c", "/etc/ceph/ceph.conf", "--lookup", "fsid"),
		step("", "lvcreate", "--yes", "--quiet", "--extents", "100%FREE", "--name", "osd-block-"+ours,
			"--addtag", "ceph.osd_id=3", "--addtag", "ceph.osd_fsid="+ours, "--addtag", "ceph.type=block", "--addtag", "ceph.block_device="+path,
			"--addtag", "ceph.cluster_fsid=11111111-2222-3333-4444-555555555555", "--addtag", "ceph.cluster_name=ceph", "--addtag", "ceph.cephx_lockbox_secret=",
			"--addtag", "ceph.crush_device_class=", "--addtag", "ceph.encrypted=0", "--addtag", "ceph.osdspec_affinity=", "--addtag", "ceph.vdo=0", group),
		step("  abc-def\n", "lvs", "--noheadings", "--options", "lv_uuid", path),
		step("", "lvchange", "--addtag", "ceph.block_uuid=abc-def", path))
}

func TestVolumesAreMadeOnce(t *testing.T) {
	for name, steps := range map[string][]run.Step{
		"anew":                  makeSteps(false),
		"after the group":       makeSteps(true),
		"after the volume":      {lvsStep(volumes("ceph.osd_fsid=" + ours + ",ceph.type=block")), step(" abc-def", "lvs", "--noheadings", "--options", "lv_uuid", path), step("", "lvchange", "--addtag", "ceph.block_uuid=abc-def", path)},
		"after everything":      {lvsStep(volumes(ourTags))},
		"in upper-case letters": {lvsStep(volumes(strings.ReplaceAll(ourTags, ours, strings.ToUpper(ours))))},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := scripted(t, steps...).makeVolume(t.Context(), "/dev/sdb", Identity{ID: 3, UUID: ours})
			if d := cmp.Diff(path, got); err != nil || d != "" {
				t.Error(err, d)
			}
		})
	}
}

func TestBootUnitsFollowTheLayout(t *testing.T) {
	o := Identity{ID: 3, UUID: ours}
	for want, tags := range map[string]string{"ceph-volume@lvm-3-" + ours + ".service": ourTags, "ceph-osd@3.service": ""} {
		got, err := scripted(t, lvsStep(volumes(tags))).BootUnits(t.Context(), o)
		if d := cmp.Diff([]string{want}, got); err != nil || d != "" {
			t.Error(err, d)
		}
	}
}

func TestVolumesAreRemovedWithTheirGroup(t *testing.T) {
	l := scripted(t, lvsStep(volumes(ourTags)), step("", "lvremove", "--yes", "--quiet", path), pvsStep(ourDevice),
		step("  0\n", "vgs", "--noheadings", "--options", "lv_count", group), step("", "vgremove", "--yes", "--quiet", group),
		run.Step{Argv: []string{"pvremove", "--yes", "--quiet", "/dev/sdb"}, Stderr: "device is gone", ExitCode: 5})
	done, err := l.removeVolumes(t.Context(), ours)
	if done || err == nil || !strings.Contains(err.Error(), "remove LVM's label from /dev/sdb: pvremove: exit status 5: device is gone") {
		t.Error(done, err)
	}
}

func TestGroupsOfOthersStay(t *testing.T) {
	l := scripted(t, lvsStep(volumes(ourTags)), step("", "lvremove", "--yes", "--quiet", path), pvsStep(ourDevice), step("  2\n", "vgs", "--noheadings", "--options", "lv_count", group))
	if done, err := l.removeVolumes(t.Context(), ours); err != nil || !done {
		t.Error(done, err)
	}
	l = scripted(t, lvsStep(volumes(strings.ReplaceAll(ourTags, ours, theirs))), pvsStep(noDevices))
	if done, err := l.removeVolumes(t.Context(), ours); err != nil || done {
		t.Error(done, err)
	}
}

func TestEncryptedVolumesAreLeftToAPerson(t *testing.T) {
	l := scripted(t, lvsStep(volumes(strings.ReplaceAll(ourTags, "encrypted=0", "encrypted=1"))))
	if _, err := l.removeVolumes(t.Context(), ours); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
}

func TestADeviceOfAGroupIsRefusedUnlessItIsOurs(t *testing.T) {
	for uuid, want := range map[string]errs.Kind{theirs: errs.Conflict, ours: 0} {
		d := blank()
		var err error
		if d.Group, err = scripted(t, pvsStep(ourDevice)).groupOf(t.Context(), d.Path); err != nil {
			t.Fatal(err)
		}
		if err := d.Refusal(uuid); (err == nil) != (uuid == ours) || err != nil && errs.KindOf(err) != want {
			t.Errorf("%s: %v", uuid, err)
		}
	}
}

func TestStoreIsMadeWithoutTheKeyAmongTheArguments(t *testing.T) {
	const secret = "AQBpvcpvcpvcpvcpvcpvcpvcpvcpvcpvcpvc=="
	d := loopDevice(t, 2<<30, 0)
	l := scripted(t)
	dir := l.folder(3)
	script := run.NewScript(run.Step{Argv: []string{"ceph-osd", "-c", "/etc/ceph/ceph.conf", "-i", "3", "--mkfs", "--osd-uuid", ours, "--osd-data", dir,
		"--osd-objectstore", "bluestore", "--keyring", dir + "/keyring", "--keyfile", "-"}, Stdin: secret, Stderr: "no room, key " + secret, ExitCode: 1})
	l.Run = script
	err := l.makeStore(t.Context(), d, Identity{ID: 3, UUID: ours, Secret: secret})
	if err == nil || !strings.Contains(err.Error(), "no room") || strings.Contains(err.Error(), secret) {
		t.Error(err)
	}
	if err := script.Left(); err != nil {
		t.Error(err)
	}
}
