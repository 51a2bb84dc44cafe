package domxml

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// harmless returns a document of testdata/harmless.
func harmless(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "harmless", name+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parsed(t testing.TB, doc string) *Spec {
	t.Helper()
	s, err := Parse(doc)
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, doc)
	}
	return s
}

func TestCloudGuestIsReadCompletely(t *testing.T) {
	want := &Spec{
		Name: "web1", UUID: "0bd2a9b2-5b5c-4a0e-9b2b-0b7d1c0e5a11", Title: "Web / front",
		Description: "Serves example.org & friends; see /wiki/web1",
		MemoryMiB:   4096, VCPUs: 4, Topology: "1/2/2", CPUMode: "host-model",
		DomainType: "kvm", OSType: "hvm", Arch: "x86_64", Machine: "pc-q35-7.2",
		Emulator: "/usr/bin/kvm", Console: "pty", Features: []string{"acpi", "apic", "vmport"},
		Networks: []NIC{
			{Type: "bridge", MAC: "52:54:00:ab:cd:01", Source: "vmbr100", Model: "virtio", VNI: "100"},
			{Type: "direct", Source: "ens1", Model: "virtio", VNI: "macvtap:ens1"},
		},
		Disks: []Disk{
			{Type: "rbd", Device: "disk", Name: "vms/web1_disk0", Dev: "sda", Bus: "scsi", Format: "raw", Cache: "writeback", Hosts: []string{"10.0.1.1:6789", "10.0.1.2:6789"}},
			{Type: "rbd", Device: "disk", Name: "vms/golden", Dev: "sdb", Bus: "scsi", Snapshot: "v1"},
			{Type: "file", Device: "cdrom", Name: "/srv/vms/seed/web1.iso", Dev: "sdc", Bus: "sata", ReadOnly: true},
			{Type: "file", Device: "cdrom", Dev: "sdd", Bus: "sata", ReadOnly: true},
		},
		Controllers: []Controller{{Type: "scsi", Model: "virtio-scsi"}, {Type: "usb"}},
		VNC:         VNC{Listen: "0.0.0.0", Port: "auto"},
	}
	if diff := cmp.Diff(want, parsed(t, harmless(t, "cloud"))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestWindowsGuestIsReadCompletely(t *testing.T) {
	want := &Spec{
		Name: "win11", GenID: "43dc0cf8-809b-4adb-9bea-a9abb5f3d90e", MemoryMiB: 8192, VCPUs: 4, CPUMode: "host-passthrough",
		DomainType: "kvm", OSType: "hvm", Arch: "x86_64", Machine: "pc-q35-7.2", Emulator: "/usr/bin/qemu-system-x86_64",
		Console: "pty", Features: []string{"acpi", "apic", "hyperv", "smm"},
		Networks: []NIC{{Type: "network", Source: "default", Model: "e1000e", VNI: "default"}},
		Disks: []Disk{
			{Type: "rbd", Device: "disk", Name: "vms/tenant1/win11", Dev: "vda", Bus: "virtio"},
			{Type: "file", Device: "cdrom", Name: "/srv/vms/iso/virtio-win.iso", Dev: "sda", Bus: "sata", ReadOnly: true},
		},
		Loader: "/usr/share/OVMF/OVMF_CODE_4M.ms.fd",
		NVRAM:  &StateFile{Type: "file", Name: "/var/lib/libvirt/qemu/nvram/win11_VARS.fd"},
		TPM:    &StateFile{Type: "file"},
	}
	if diff := cmp.Diff(want, parsed(t, harmless(t, "windows"))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestDocumentMayLackAlmostEverything(t *testing.T) {
	for _, doc := range []string{
		`<domain/>`,
		`<domain type=""><os/><cpu/><features/><devices/></domain>`,
		`<domain><uuid/><vcpu/><devices><disk/><interface/><controller/><graphics type="vnc"/></devices></domain>`,
		"\ufeff<?xml version='1.0' encoding='utf-8' standalone='yes'?>\r\n<domain></domain>\n<!-- end -->\n",
		`<?xml version="1.0"?><?xml-stylesheet href="x"?><domain/>`,
	} {
		s := parsed(t, doc)
		if s.VCPUs != 1 || s.MemoryMiB != 0 || s.UUID != "" {
			t.Errorf("%s: %+v", doc, s)
		}
	}
}

func TestNameKeepsTheWhiteSpaceThatLibvirtKeeps(t *testing.T) {
	if s := parsed(t, "<domain><name> web1\n</name></domain>"); s.Name != " web1\n" {
		t.Errorf("name %q", s.Name)
	}
}

func TestMemoryUnitsAreThoseOfLibvirt(t *testing.T) {
	tests := []struct {
		number, unit string
		mib          int
	}{
		{"1048576", "", 1024}, {"1024", "KiB", 1}, {"1024", "k", 1}, {"1024", "K", 1}, {"1025", "KiB", 2},
		{"1048576", "b", 1}, {"1048576", "bytes", 1}, {"1", "byte", 1}, {"0", "", 0},
		{"1049", "KB", 2}, {"1048", "KB", 1}, {"512", "MiB", 512}, {"512", "M", 512}, {"512", "mib", 512}, {"512", "MB", 489},
		{"2", "GiB", 2048}, {"2", "G", 2048}, {"2", "GB", 1908}, {"1", "TiB", 1 << 20}, {"1", "T", 1 << 20}, {"1", "TB", 953675},
		{"1", "PiB", 1 << 30}, {"1", "E", 1 << 40},
	}
	for _, tt := range tests {
		doc := fmt.Sprintf("<domain><memory unit=%q>\n %s </memory></domain>", tt.unit, tt.number)
		if got := parsed(t, doc).MemoryMiB; got != tt.mib {
			t.Errorf("%s %s = %d MiB, want %d", tt.number, tt.unit, got, tt.mib)
		}
	}
}

func TestMemoryOfNUMACellsCountsWithoutMemory(t *testing.T) {
	s := parsed(t, `<domain><cpu><numa><cell id="0" memory="1" unit="GiB"/><cell id="1" memory="524288"/><cell id="2"/></numa></cpu></domain>`)
	if s.MemoryMiB != 1536 {
		t.Errorf("memory = %d MiB, want 1536", s.MemoryMiB)
	}
}

func TestVNIIsTheTextThatClientsKnow(t *testing.T) {
	tests := []struct{ iface, vni string }{
		{`<interface type="bridge"><source bridge="vmbr1234"/></interface>`, "1234"},
		{`<interface type="bridge"><source bridge="vmbr"/></interface>`, "vmbr"},
		{`<interface type="bridge"><source bridge="vmbr10x"/></interface>`, "vmbr10x"},
		{`<interface type="bridge"><source bridge="brcluster"/></interface>`, "cluster"},
		{`<interface type="bridge"><source bridge="brstorage"/></interface>`, "storage"},
		{`<interface type="bridge"><source bridge="brupstream"/></interface>`, "upstream"},
		{`<interface type="bridge"><source bridge="br0"/></interface>`, "br0"},
		{`<interface type="network"><source network="vmbr5"/></interface>`, "vmbr5"},
		{`<interface type="direct"><source dev="ens1f0"/></interface>`, "macvtap:ens1f0"},
		{`<interface type="hostdev"><source><address type="pci" domain="0x0000" bus="0x1" slot="0x10" function="0x2"/></source></interface>`, "hostdev:0000:01:10.2"},
		{`<interface type="user"/>`, ""},
	}
	for _, tt := range tests {
		s := parsed(t, "<domain><devices>"+tt.iface+"</devices></domain>")
		if got := s.Networks[0].VNI; got != tt.vni {
			t.Errorf("%s: vni %q, want %q", tt.iface, got, tt.vni)
		}
	}
}

func TestConsoleIsTheFirstConsoleElseSerial(t *testing.T) {
	for devices, want := range map[string]string{
		``:                                   "",
		`<serial type="file"/>`:              "file",
		`<serial/>`:                          "pty",
		`<serial type="tcp"/><console/>`:     "pty",
		`<console type="unix"/><console/>`:   "unix",
		`<serial type="vc"/><serial/><rng/>`: "vc",
	} {
		if got := parsed(t, "<domain><devices>"+devices+"</devices></domain>").Console; got != want {
			t.Errorf("%s: console %q, want %q", devices, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat("<a>", maxDepth+1) + strings.Repeat("</a>", maxDepth+1)
	tests := []struct{ name, doc, want string }{
		{"empty", " \n", "is empty"},
		{"only a comment", "<!-- x -->", "no element"},
		{"too large", "<domain>" + strings.Repeat(" ", MaxSize) + "</domain>", "at most 262144"},
		{"not UTF-8", "<domain>\xff</domain>", "not UTF-8"},
		{"UTF-16", "\xff\xfe<\x00d\x00", "not UTF-8"},
		{"NUL", "<domain>\x00</domain>", "line 1"},
		{"latin1 declared", "<?xml version='1.0' encoding='latin1'?><domain/>", "encoding UTF-8"},
		{"XML 1.1", "<?xml version='1.1'?><domain/>", "version 1.0"},
		{"declaration not first", "\n<?xml version='1.0'?><domain/>", "line 2: the XML declaration"},
		{"DOCTYPE", "<!DOCTYPE domain><domain/>", "document types"},
		{"entity bomb", "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;'>]>\n<domain><name>&b;</name></domain>", "document types"},
		{"external entity", "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/shadow'>]><domain><name>&x;</name></domain>", "document types"},
		{"unknown entity", "<domain>\n<name>&x;</name></domain>", "line 2"},
		{"other root", "<network/>", "<domain> without a namespace"},
		{"root in a namespace", "<domain xmlns='urn:x'/>", "<domain> without a namespace"},
		{"two roots", "<domain/>\n<domain/>", "line 2: a second document element"},
		{"text behind", "<domain/>x", "outside of <domain>"},
		{"text before", "x<domain/>", "outside of <domain>"},
		{"unclosed", "<domain><name>", "line 1"},
		{"crossed", "<domain><a><b></a></b></domain>", "line 1"},
		{"attribute twice", "<domain type='qemu' type='kvm'/>", `attribute "type" twice`},
		{"too many attributes", "<domain" + attributes(maxAttributes+1) + "/>", "more than 64 attributes"},
		{"too deep", "<domain>" + deep + "</domain>", "deep"},
		{"too many elements", "<domain>" + strings.Repeat("<a/>", maxElements) + "</domain>", "more than 10000 elements"},
		{"long name", "<domain><" + strings.Repeat("a", maxName+1) + "/></domain>", "more than 128 bytes"},
		{"two names", "<domain><name>a</name>\n<name>b</name></domain>", "line 2: <domain> has a second <name>"},
		{"two device lists", "<domain><devices/><devices/></domain>", "second <devices>"},
		{"two disk sources", "<domain><devices><disk><source file='/a'/><source file='/b'/></disk></devices></domain>", "second <source>"},
		{"text beside elements", "<domain><os>x<kernel>/k</kernel></os></domain>", "beside elements"},
		{"element in a path", "<domain><os><kernel><a>/k</a></kernel></os></domain>", "may not contain elements"},
		{"foreign element", "<domain><devices><x:disk xmlns:x='urn:x'/></devices></domain>", `namespace "urn:x"`},
		{"foreign attribute", "<domain><devices><disk xmlns:x='urn:x' x:type='block'/></devices></domain>", "namespace"},
		{"bad UUID", "<domain><uuid>123</uuid></domain>", `UUID "123"`},
		{"memory unit", "<domain><memory unit='MiBB'>1</memory></domain>", `"MiBB"`},
		{"memory number", "<domain>\n<memory>-1</memory></domain>", `line 2: memory "-1"`},
		{"memory too large", "<domain><memory unit='EiB'>9</memory></domain>", "too large"},
		{"cell memory", "<domain><cpu><numa><cell memory='x'/></numa></cpu></domain>", `"x"`},
		{"cells too large", "<domain><cpu><numa><cell memory='7' unit='E'/><cell memory='7' unit='E'/></numa></cpu></domain>", "too large"},
		{"no vcpu", "<domain><vcpu>0</vcpu></domain>", `vcpu "0"`},
		{"vcpu words", "<domain><vcpu>two</vcpu></domain>", `vcpu "two"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.doc)
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("error %v, want an invalid one", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	doc := harmless(b, "cloud")
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := Parse(doc); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWorstDocuments reads and judges the documents that cost most within the limits.
func BenchmarkWorstDocuments(b *testing.B) {
	deep, leaf := strings.Repeat("a", maxName), strings.Repeat("<b/>", maxElements-maxDepth-10)
	chain := func(open string) string { return strings.Repeat(open+deep+">", maxDepth-2) }
	for name, doc := range map[string]string{
		"logs":       "<domain><devices><serial>" + strings.Repeat("<log file='/a'/>", maxElements-4) + "</serial></devices></domain>",
		"deep":       "<domain>" + chain("<") + leaf + chain("</") + "</domain>",
		"comment":    "<domain><name>" + strings.Repeat("a<!---->", MaxSize/8-10) + "</name></domain>",
		"attributes": "<domain>" + strings.Repeat("<a"+attributes(maxAttributes)+"/>", 500) + "</domain>",
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if _, err := WithConsoleLog(doc, "/run/a.log"); err != nil {
					b.Fatal(err)
				}
				if err := restricted.Check(doc); err != nil && name != "logs" {
					b.Fatal(err)
				}
			}
		})
	}
}

func attributes(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, " a%d=''", i)
	}
	return s.String()
}
