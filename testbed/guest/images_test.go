package guest

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirtxml"
)

func TestArchiveIsReadByAnotherProgram(t *testing.T) {
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("no busybox to read the archive with")
	}
	var a archive
	a.dir("etc")
	a.file("etc/odd", 0o644, []byte("abc")) // odd lengths need padding
	a.symlink("link", "etc/odd")
	dir := t.TempDir()
	cmd := exec.Command("busybox", "cpio", "-i", "-d")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(a.bytes())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	out, err := exec.Command("cat", filepath.Join(dir, "link")).Output()
	if err != nil || string(out) != "abc" {
		t.Errorf("through the link: %q, %v", out, err)
	}
}

// frame makes a legacy frame of blocks.
func frame(blocks ...[]byte) []byte {
	out := slices.Clone(lz4Magic)
	for _, b := range blocks {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(b)))
		out = append(out, b...)
	}
	return out
}

func TestUnpackLZ4(t *testing.T) {
	long := append([]byte{0xf0, 255, 5}, bytes.Repeat([]byte("x"), 15+255+5)...)
	for name, c := range map[string]struct {
		in   []byte
		want string // empty: an error
	}{
		"literals":         {frame([]byte("\x30abc")), "abc"},
		"many literals":    {frame(long), strings.Repeat("x", 275)},
		"match":            {frame([]byte("\x32abc\x03\x00\x10d")), "abcabcabcd"},
		"match on itself":  {frame([]byte("\x11a\x01\x00\x10b")), "aaaaaab"},
		"rubbish behind":   {append(frame([]byte("\x30abc")), 9, 9, 9, 9, 9), "abc"},
		"before beginning": {frame([]byte("\x11a\x02\x00\x10b")), ""},
		"distance zero":    {frame([]byte("\x11a\x00\x00\x10b")), ""},
		"cut short":        {frame([]byte("\x50ab")), ""},
		"empty":            {nil, ""},
	} {
		got, err := unpackLZ4(c.in)
		if string(got) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func FuzzUnpackLZ4StaysInBounds(f *testing.F) {
	f.Add(frame([]byte("\x32abc\x03\x00\x10d")))
	f.Add(frame([]byte("\xff\xff\xff")))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := unpackLZ4(b)
		// A byte of LZ4 makes at most 255 bytes.
		if err == nil && len(out) > 255*len(b) {
			t.Errorf("%d bytes make %d", len(b), len(out))
		}
	})
}

func TestModuleDepends(t *testing.T) {
	for module, want := range map[string][]string{
		"\x7fELF\x00license=GPL\x00depends=virtio,virtio-ring\x00name=x\x00": {"virtio", "virtio_ring"},
		"\x7fELF\x00depends=\x00name=x\x00":                                  {},
		"\x7fELF":                                                            nil,
	} {
		if diff := cmp.Diff(want, moduleDepends([]byte(module))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", module, diff)
		}
	}
}

func TestDependencyIsTheFirstNamed(t *testing.T) {
	if got := dependency("linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n    x\n"); got != "linux-image-6.1.0-9-cloud-amd64" {
		t.Errorf("dependency = %q", got)
	}
	if got := dependency(""); got != "" {
		t.Errorf("dependency of nothing = %q", got)
	}
}

func TestDomainXMLHoldsWhatWasAskedFor(t *testing.T) {
	o := Options{Name: "g", UUID: bootA, Log: "/l/g.log", Images: Images{"/i/tick.bin", "/i/vmlinux", "/i/initrd.gz"}}
	var tick libvirtxml.Domain
	if err := tick.Unmarshal(Tick(o)); err != nil {
		t.Fatal(err)
	}
	if tick.Name != "g" || tick.UUID != bootA || tick.Type != "qemu" || tick.OS.Kernel != "/i/tick.bin" ||
		tick.Devices.Serials[0].Log.File != "/l/g.log" || len(tick.Devices.Consoles) != 1 {
		t.Errorf("tiny guest: %s", Tick(o))
	}
	o.Seq, o.Disk, o.Bridge, o.Args = 100, "/s/g.img", "vmbr7", "noacpi"
	var linux libvirtxml.Domain
	if err := linux.Unmarshal(Linux(o)); err != nil {
		t.Fatal(err)
	}
	d := linux.Devices
	if linux.OS.Initrd != "/i/initrd.gz" || !strings.HasSuffix(linux.OS.Cmdline, " seq=100 noacpi") ||
		d.Disks[0].Driver.Cache != "none" || d.Disks[0].Source.File.File != "/s/g.img" || d.Interfaces[0].Source.Bridge.Bridge != "vmbr7" {
		t.Errorf("Linux guest: %s", Linux(o))
	}
	o.Disk, o.RBD = "", &RBD{Pool: "vms", Image: "g", Monitors: []string{"192.0.2.1", "192.0.2.2"}, User: "libvirt", Secret: bootA}
	linux = libvirtxml.Domain{}
	if err := linux.Unmarshal(Linux(o)); err != nil {
		t.Fatal(err)
	}
	d = linux.Devices
	if s := d.Disks[0].Source.Network; len(d.Disks) != 1 || s.Protocol != "rbd" || s.Name != "vms/g" || len(s.Hosts) != 2 || s.Hosts[1].Name != "192.0.2.2" ||
		d.Disks[0].Auth.Username != "libvirt" || d.Disks[0].Auth.Secret.UUID != bootA || d.Disks[0].Target.Dev != "vda" {
		t.Errorf("Linux guest on RBD: %s", Linux(o))
	}
	o = Options{Name: "g"}
	if err := linux.Unmarshal(Linux(o)); err != nil || strings.Contains(Linux(o), "<disk") || strings.Contains(Linux(o), "<log") || strings.Contains(Linux(o), "<uuid") {
		t.Errorf("bare Linux guest (%v): %s", err, Linux(o))
	}
}
