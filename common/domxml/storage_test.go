package domxml

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	rbdDisk   = `<disk type='network'><source protocol='rbd' name='vms/a'/><target dev='vda'/></disk>`
	fileDisk  = `<disk type='file'><source file='/shared//b'/><target dev='vdb'/></disk>`
	localDisk = `<disk type='file'><source file='/var/c'/><target dev='vdc'/></disk>`
	blockDisk = `<disk type='block'><source dev='/shared/dev'/><target dev='vdd'/></disk>`
	localROM  = `<disk type='file' device='cdrom'><source file='/var/x.iso'/><target dev='sda'/></disk>`
	emptyDisk = `<disk type='file' device='floppy'><target dev='fda'/></disk>`
)

var shared = []string{"/shared"}

func TestStorageClassIsTheWorstOfWhatIsWritten(t *testing.T) {
	tests := []struct {
		name, piece string
		want        Class
	}{
		{"no disk", "dev ", RBD},
		{"only read", "dev " + localROM + emptyDisk, RBD},
		{"read-only disk", "dev " + strings.Replace(localDisk, "</disk>", "<readonly/></disk>", 1), RBD},
		{"snapshot", `dev <disk type='network'><source protocol='rbd' name='a/b'><snapshot name='s'/></source></disk>`, RBD},
		{"RBD", "dev " + rbdDisk + localROM, RBD},
		{"shared file", "dev " + rbdDisk + fileDisk, SharedFile},
		{"local file", "dev " + rbdDisk + localDisk + fileDisk, Local},
		{"sibling of the shared directory", `dev <disk><source file='/shared2/a'/></disk>`, Local},
		{"out of the shared directory", `dev <disk><source file='/shared/../a'/></disk>`, Local},
		{"kernel block device", "dev " + blockDisk, Local},
		{"other network storage", `dev <disk type='network'><source protocol='nbd'/></disk>`, Local},
		{"unknown kind", `dev <disk type='hologram'/>`, Local},
		{"pool volume", `dev <disk type='volume'><source pool='p' volume='v'/></disk>`, Local},
		{"host device", "dev " + rbdDisk + `<hostdev type='pci'/>`, Local},
		{"SR-IOV", `dev <interface type='hostdev'/>`, Local},
		{"host TPM", `dev <tpm><backend type='passthrough'/></tpm>`, Local},
		{"emulated TPM", `dev <tpm><backend type='emulator'/></tpm>`, Local},
		{"emulated TPM, shared state", `dev <tpm><backend type='emulator'><source type='dir' path='/shared/tpm'/></backend></tpm>`, SharedFile},
		{"host directory", `dev <filesystem/>`, Local},
		{"persistent memory", `dev <memory model='nvdimm'><source><path>/var/p</path></source></memory>`, Local},
		{"shared persistent memory", `dev <memory model='nvdimm'><source><path>/shared/p</path></source></memory>`, SharedFile},
		{"plugged memory", `dev <memory model='dimm'><target><size>1</size></target></memory>`, RBD},
		{"BIOS", `os <loader type='rom'>/usr/share/seabios/bios.bin</loader>`, RBD},
		{"automatic UEFI", `<os firmware='efi'/>`, Local},
		{"UEFI with default variables", `os <loader type='pflash' readonly='yes'>/x</loader>`, Local},
		{"stateless UEFI", `os <loader type='pflash' stateless='yes'>/x</loader>`, RBD},
		{"local variables", `os <nvram>/var/lib/libvirt/qemu/nvram/a</nvram>`, Local},
		{"shared variables", `os <nvram>/shared/a</nvram>`, SharedFile},
		{"variables in RBD", `os <nvram type='network'><source protocol='rbd' name='vms/nv'/></nvram>`, RBD},
		{"variables beside the code", `os <loader type='pflash' readonly='no'>/shared/fw</loader>`, SharedFile},
	}
	for _, tt := range tests {
		if got := StorageClass(parsed(t, guest(tt.piece)), shared); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestWritableImagesAreThoseThatOthersCouldName(t *testing.T) {
	s := parsed(t, guest("dev "+rbdDisk+localROM+emptyDisk+strings.Replace(fileDisk, "</disk>", "<shareable/></disk>", 1)+blockDisk+rbdDisk+
		`<memory model='nvdimm'><source><path>/shared/p</path></source></memory>`))
	s.NVRAM = &StateFile{Type: "file", Name: "/shared/nv"}
	s.TPM = &StateFile{Type: "file"}
	want := []Image{
		{Kind: "rbd", Name: "vms/a"},
		{Kind: "file", Name: "/shared/b", Shareable: true},
		{Kind: "block", Name: "/shared/dev"},
		{Kind: "rbd", Name: "vms/a"},
		{Kind: "file", Name: "/shared/nv"},
		{Kind: "file", Name: "/shared/p"},
	}
	if diff := cmp.Diff(want, WritableImages(s)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestRBDListNamesEachImageOnce(t *testing.T) {
	s := parsed(t, guest("dev "+rbdDisk+fileDisk+`<disk type='network' device='cdrom'><source protocol='rbd' name='iso/x'/></disk>`+rbdDisk))
	if diff := cmp.Diff([]string{"vms/a", "iso/x"}, RBDList(s)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := RBDList(parsed(t, guest("dev "+fileDisk))); got != nil {
		t.Errorf("without RBD: %q", got)
	}
}

// decision: what prevents live migration
func TestLiveBlockersNameWhatBindsToTheHost(t *testing.T) {
	tests := []struct {
		name, piece string
		want        []string // a part of each reason
	}{
		{"nothing", "dev " + rbdDisk + fileDisk + localROM + emptyDisk + `<tpm><backend type='emulator'/></tpm>`, nil},
		{"UEFI", `<os firmware='efi'/>`, nil},
		{"disks", "dev " + localDisk + blockDisk, []string{`vdc (file "/var/c")`, `vdd (block "/shared/dev")`}},
		{"host devices", `dev <hostdev type='usb'/><interface type='hostdev'/><interface type='vdpa'/><tpm><backend type='passthrough'/></tpm>`,
			[]string{"hostdev usb", "interface hostdev", "interface vdpa", "tpm passthrough"}},
		{"sharing", `dev <filesystem/><shmem name='a'/>`, []string{"filesystem", "shmem"}},
		{"persistent memory", `dev <memory><source><path>/var/p</path></source></memory>`, []string{`"/var/p"`}},
		{"encrypted", `<launchSecurity type='sev'/>`, []string{"sev"}},
		{"time stamp counter", `<cpu><feature policy='require' name='invtsc'/></cpu>`, []string{"invtsc"}},
		{"no time stamp counter", `<cpu><feature policy='disable' name='invtsc'/></cpu>`, nil},
	}
	for _, tt := range tests {
		got := parsed(t, guest(tt.piece)).LiveBlockers(shared)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %q, want %d reasons", tt.name, got, len(tt.want))
			continue
		}
		for i, part := range tt.want {
			if !strings.Contains(got[i], part) {
				t.Errorf("%s: %q does not say %q", tt.name, got[i], part)
			}
		}
	}
}
