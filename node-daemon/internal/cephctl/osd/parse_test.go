package osd

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mountinfo = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 35 98:0 /mnt1 /mnt2\040of\040us rw,noatime master:1 - ext3 /dev/root rw,errors=continue
40 22 0:35 / /srv rw - btrfs /dev/sdc rw
broken line
41 22 0:36 /
`

func TestMountsAreRead(t *testing.T) {
	want := []mount{{"8:1", "/dev/sda1", "/"}, {"98:0", "/dev/root", "/mnt2 of us"}, {"0:35", "/dev/sdc", "/srv"}}
	if d := cmp.Diff(want, parseMounts(mountinfo), cmp.AllowUnexported(mount{})); d != "" {
		t.Error(d)
	}
}

const swaps = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda2                               partition\t1\t0\t-2\n/swap\\040file file 1 0 -3\n"

func TestSwapSpacesAreRead(t *testing.T) {
	if d := cmp.Diff([]string{"/dev/sda2", "/swap file"}, parseSwaps(swaps)); d != "" {
		t.Error(d)
	}
}

func TestSignaturesAreRead(t *testing.T) {
	got, err := parseSignatures([]byte(`{"signatures": [{"device":"sdb", "offset":"0x438", "type":"ext4", "uuid":null, "label":null}]}`))
	if d := cmp.Diff([]Signature{{"ext4", "0x438"}}, got); err != nil || d != "" {
		t.Error(err, d)
	}
	for _, none := range []string{"", "\n", `{"signatures": [

   ]
}`} {
		if got, err := parseSignatures([]byte(none)); err != nil || len(got) > 0 {
			t.Errorf("%q: %v, %v", none, got, err)
		}
	}
	if _, err := parseSignatures([]byte("wipefs: error")); err == nil {
		t.Error("an answer that cannot be read stands for no signature")
	}
}

func TestLabelsAreRead(t *testing.T) {
	for text, want := range map[string]string{
		labelHead + ours + "\n":                  ours,
		labelHead + strings.ToUpper(ours) + "\n": ours,
		labelHead + ours:                         "",
		labelHead + ours + "x":                   "",
		labelHead:                                "",
		"":                                       "",
		"bluestore block device " + ours + "\n":  "",
		labelHead + strings.Repeat("z", 36) + "\n": "",
	} {
		if got, ok := parseLabel([]byte(text)); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
}

const lvs = `{"report": [{"lv": [
 {"lv_path":"/dev/vg0/root", "vg_name":"vg0", "lv_tags":""},
 {"lv_path":"/dev/ceph-a/osd-block-b", "vg_name":"ceph-a", "lv_tags":"ceph.osd_fsid=` + ours + `,ceph.osd_id=3,ceph.type=block,other,ceph.crush_device_class="}]}]}`

func TestVolumesOfOSDsAreRead(t *testing.T) {
	want := []volume{{"/dev/ceph-a/osd-block-b", "ceph-a", map[string]string{"osd_fsid": ours, "osd_id": "3", "type": "block", "crush_device_class": ""}}}
	got, err := parseVolumes([]byte(lvs))
	if d := cmp.Diff(want, got, cmp.AllowUnexported(volume{})); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestGroupsAreRead(t *testing.T) {
	got, err := parsePhysical([]byte(`{"report":[{"pv":[{"pv_name":"/dev/sda2","vg_name":"vg0"},{"pv_name":"/dev/sdb","vg_name":"vg0"},{"pv_name":"/dev/sdc","vg_name":""}]}]}`))
	if d := cmp.Diff(map[string][]string{"vg0": {"/dev/sda2", "/dev/sdb"}, "": {"/dev/sdc"}}, got); err != nil || d != "" {
		t.Error(err, d)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(mountinfo)
	f.Add(`1 1 1:1 / \04 - x \777`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range parseMounts(text) {
			if m.device == "" || m.source == "" || m.point == "" {
				t.Errorf("%+v", m)
			}
		}
	})
}

func FuzzParseSwaps(f *testing.F) {
	f.Add(swaps)
	f.Fuzz(func(t *testing.T, text string) {
		if slices.Contains(parseSwaps(text), "") {
			t.Error("a swap space without a name")
		}
	})
}

func FuzzParseLabel(f *testing.F) {
	f.Add([]byte(labelHead + ours + "\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		uuid, ok := parseLabel(head)
		if ok != (len(uuid) == 36) || ok && uuid != strings.ToLower(uuid) {
			t.Errorf("%q, %v", uuid, ok)
		}
	})
}

func FuzzParseAnswers(f *testing.F) {
	f.Add([]byte(lvs))
	f.Add([]byte(`{"signatures":[{"type":"gpt"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		volumes, _ := parseVolumes(data)
		for _, v := range volumes {
			if v.tags["osd_fsid"] == "" {
				t.Errorf("%+v", v)
			}
		}
		_, _ = parsePhysical(data)
		_, _ = parseSignatures(data)
	})
}
