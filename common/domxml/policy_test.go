package domxml

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

var restricted = Policy{FileDirectories: []string{"/srv/vms", "/var/lib/libvirt/images/"}}

func TestHarmlessDocumentsPassThePolicy(t *testing.T) {
	files, err := filepath.Glob("testdata/harmless/*.xml")
	if err != nil || len(files) < 6 {
		t.Fatalf("found %d documents, %v", len(files), err)
	}
	for _, f := range files {
		doc, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := restricted.Check(string(doc)); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// guest wraps a piece of XML into a document. Pieces that begin with "dev " go into
// <devices>, "os " into <os>, "disk " into a file disk; others below <domain>.
func guest(piece string) string {
	kind, rest, _ := strings.Cut(piece, " ")
	domain := func(s string) string {
		return "<domain type='kvm'>\n<name>web1</name>\n" + s + "\n</domain>"
	}
	switch kind {
	case "dev":
		return domain("<devices>" + rest + "</devices>")
	case "os":
		return domain("<os>" + rest + "</os>")
	case "disk":
		return domain("<devices><disk type='file'>" + rest + "<target dev='vda'/></disk></devices>")
	case "doc":
		return rest
	}
	return domain(piece)
}

// hostile are pieces that must be refused, with what the message must say.
var hostile = []struct{ name, piece, want string }{
	{"QEMU arguments", `<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:arg value='-s'/></qemu:commandline>`, "qemu/1.0"},
	{"QEMU arguments under another prefix", `<x:commandline xmlns:x='http://libvirt.org/schemas/domain/qemu/1.0'><x:arg value='-s'/></x:commandline>`, "qemu/1.0"},
	{"QEMU arguments as default namespace", `<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='-s'/></commandline>`, "qemu/1.0"},
	{"QEMU namespace declared at the root", `doc <domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:override/></domain>`, "qemu/1.0"},
	{"undeclared prefix", `<qemu:commandline/>`, `namespace "qemu"`},
	{"other extension", `<lxc:namespace xmlns:lxc='http://libvirt.org/schemas/domain/lxc/1.0'/>`, "lxc/1.0"},
	{"other hypervisor", `doc <domain type='lxc'><name>a</name></domain>`, `type="lxc"`},
	{"PCI device", `dev <hostdev mode='subsystem' type='pci'><source><address bus='1'/></source></hostdev>`, "<hostdev>"},
	{"SR-IOV interface", `dev <interface type='hostdev'/>`, `type="hostdev"`},
	{"vhost-user interface", `dev <interface type='vhostuser'><source type='unix' path='/run/ovs.sock' mode='client'/></interface>`, `type="vhostuser"`},
	{"vdpa interface", `dev <interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>`, `type="vdpa"`},
	{"tap with a script", `dev <interface type='bridge'><source bridge='br0'/><script path='x'/></interface>`, "<script>"},
	{"tap with a script at the end", `dev <interface type='bridge'><downscript path='x'/></interface>`, "<downscript>"},
	{"own tap device", `dev <interface type='ethernet'><target dev='eth0' managed='no'/></interface>`, `type="ethernet"`},
	{"other tap driver", `dev <interface type='bridge'><source bridge='b'/><backend tap='/dev/mem' vhost='/dev/vhost-net'/></interface>`, "/dev/mem"},
	{"NIC on the host's loopback", `dev <interface type='user'/>`, `type="user"`},
	{"NIC without a type", `dev <interface/>`, `type=""`},
	{"9p share", `dev <filesystem type='mount'><source dir='/'/><target dir='x'/></filesystem>`, "<filesystem>"},
	{"virtiofs in an allowed directory", `dev <filesystem><source dir='/srv/vms'/></filesystem>`, "<filesystem>"},
	{"shared memory", `dev <shmem name='ceph'/>`, "<shmem>"},
	{"lock file", `dev <lease><lockspace>a</lockspace><key>k</key><target path='/srv/vms/l'/></lease>`, "<lease>"},
	{"host file as disk", `disk <source file='/etc/shadow'/>`, `file="/etc/shadow"`},
	{"dot dot", `disk <source file='/srv/vms/../../etc/shadow'/>`, `".."`},
	{"dot dot at the end", `disk <source file='/srv/vms/..'/>`, `".."`},
	{"sibling with the same beginning", `disk <source file='/srv/vms-secret/a'/>`, "outside"},
	{"relative path", `disk <source file='etc/shadow'/>`, "absolute"},
	{"relative path without a slash", `disk <source file='vmlinuz'/>`, "absolute"},
	{"pseudo protocol", `disk <source file='json:{"driver":"host_device","filename":"\u002fdev"}'/>`, "absolute"},
	{"character reference", `disk <source file='&#47;etc&#x2f;shadow'/>`, "/etc/shadow"},
	{"white space in front", `disk <source file=' /etc/shadow'/>`, "absolute"},
	{"line break in a path", "disk <source file='/srv/vms/a&#10;b'/>", "control characters"},
	{"backing file", `disk <source file='/srv/vms/a'/><backingStore type='file'><format type='raw'/><source file='/etc/shadow'/></backingStore>`, "/etc/shadow"},
	{"nested backing volume", `disk <backingStore type='file'><source file='/srv/vms/a'/><backingStore type='volume'><source pool='p' volume='v'/></backingStore></backingStore>`, `type="volume"`},
	{"mirror", `disk <mirror type='file' file='/etc/cron.d/x'/>`, "/etc/cron.d/x"},
	{"mirror of a newer version", `disk <mirror type='file'><source file='/etc/cron.d/x'/></mirror>`, "/etc/cron.d/x"},
	{"block device", `dev <disk type='block'><source dev='/dev/sda'/></disk>`, "/dev/sda"},
	{"block device without a slash", `dev <disk type='block'><source dev='sda'/></disk>`, "absolute"},
	{"directory as FAT", `dev <disk type='dir'><source dir='/root'/></disk>`, "/root"},
	{"pool volume", `dev <disk type='volume'><source pool='default' volume='x'/></disk>`, `type="volume"`},
	{"NVMe device", `dev <disk type='nvme'><source type='pci' namespace='1'/></disk>`, `type="nvme"`},
	{"vhost-user disk", `dev <disk type='vhostuser'><source type='unix' path='/run/spdk.sock'/></disk>`, `type="vhostuser"`},
	{"NBD over a host socket", `dev <disk type='network'><source protocol='nbd'><host transport='unix' socket='/run/x'/></source></disk>`, `protocol="nbd"`},
	{"HTTP disk", `dev <disk type='network'><source protocol='http' name='x'><host name='127.0.0.1' port='2181'/></source></disk>`, `protocol="http"`},
	{"network disk without protocol", `dev <disk type='network'><source name='x'/></disk>`, `protocol=""`},
	{"RBD options in the name", `dev <disk type='network'><source protocol='rbd' name='vms/a:conf=/tmp/x'/></disk>`, "vms/a:conf"},
	{"RBD without a pool", `dev <disk type='network'><source protocol='rbd' name='a'/></disk>`, "pool/volume"},
	{"RBD with empty parts", `dev <disk type='network'><source protocol='rbd' name='vms//a'/></disk>`, "pool/volume"},
	{"own Ceph configuration", `dev <disk type='network'><source protocol='rbd' name='vms/a'><config file='/tmp/ceph.conf'/></source></disk>`, "/tmp/ceph.conf"},
	{"reservation socket", `disk <source file='/srv/vms/a'><reservations managed='no'><source type='unix' path='/run/pr.sock' mode='client'/></reservations></source>`, "/run/pr.sock"},
	{"raw I/O", `dev <disk type='file' device='lun' rawio='yes'><source file='/srv/vms/a'/></disk>`, "rawio"},
	{"disk in nobody's directory", `disk <source file='/srv/a'/>`, "outside"},
	{"kernel", `os <kernel>/etc/shadow</kernel>`, "/etc/shadow"},
	{"relative kernel", `os <kernel>vmlinuz</kernel>`, "absolute"},
	{"initrd", `os <initrd>/etc/shadow</initrd>`, "/etc/shadow"},
	{"initrd in CDATA", `os <initrd><![CDATA[/etc]]>/shadow</initrd>`, "/etc/shadow"},
	{"initrd around a comment", `os <initrd>/srv/vms/<!-- -->../../etc/shadow</initrd>`, `".."`},
	{"device tree", `os <dtb>/etc/shadow</dtb>`, "/etc/shadow"},
	{"shim", `os <shim>/etc/shadow</shim>`, "/etc/shadow"},
	{"loader", `os <loader type='rom'>/etc/shadow</loader>`, "/etc/shadow"},
	{"loader out of the firmware", `os <loader>/usr/share/OVMF/../../../etc/shadow</loader>`, `".."`},
	{"writable firmware of the host", `os <loader type='pflash' readonly='no'>/usr/share/OVMF/OVMF_CODE.fd</loader>`, "readonly"},
	{"NVRAM", `os <nvram>/etc/cron.d/x</nvram>`, "/etc/cron.d/x"},
	{"NVRAM of another VM", `os <nvram>/var/lib/libvirt/qemu/nvram/web2_VARS.fd</nvram>`, "web2_VARS"},
	{"NVRAM template", `os <nvram template='/etc/shadow'/>`, "/etc/shadow"},
	{"NVRAM source", `os <nvram type='block'><source dev='/dev/sda'/></nvram>`, "/dev/sda"},
	{"NVRAM with a strange child", `os <nvram><x>abc</x></nvram>`, "<x>"},
	{"ACPI table", `os <acpi><table type='slic'>/etc/shadow</table></acpi>`, "/etc/shadow"},
	{"container init", `os <init>/bin/sh</init>`, "/bin/sh"},
	{"boot loader", `<bootloader>pygrub</bootloader>`, "<bootloader>"},
	{"fw_cfg file", `<sysinfo type='fwcfg'><entry name='opt/x' file='/etc/shadow'/></sysinfo>`, "/etc/shadow"},
	{"serial into a file", `dev <serial type='file'><source path='/etc/cron.d/x'/></serial>`, "/etc/cron.d/x"},
	{"serial onto a device", `dev <serial type='dev'><source path='/dev/mem'/></serial>`, "/dev/mem"},
	{"terminal as a device", `dev <serial type='dev'><source path='/dev/pts/3'/></serial>`, "/dev/pts/3"},
	{"parallel pipe", `dev <parallel type='pipe'><source path='/run/initctl'/></parallel>`, "/run/initctl"},
	{"console on a socket", `dev <console type='unix'><source mode='connect' path='/run/libvirt/libvirt-sock'/></console>`, "libvirt-sock"},
	{"channel on another agent", `dev <channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/a'/></channel>`, "channel/target"},
	{"serial over TCP", `dev <serial type='tcp'><source mode='connect' host='127.0.0.1' service='2181'/></serial>`, `type="tcp"`},
	{"channel over UDP", `dev <channel type='udp'><source host='127.0.0.1'/></channel>`, `type="udp"`},
	{"redirected USB over TCP", `dev <redirdev bus='usb' type='tcp'><source mode='connect' host='a' service='1'/></redirdev>`, `type="tcp"`},
	{"log of a second serial", `dev <serial type='pty'/><serial type='pty'><log file='/etc/cron.d/x'/></serial>`, "/etc/cron.d/x"},
	{"log of a channel", `dev <serial type='pty'/><channel type='spicevmc'><log file='/etc/cron.d/x' append='on'/></channel>`, "/etc/cron.d/x"},
	{"log of a console beside a serial", `dev <console><log file='/etc/cron.d/x'/></console><serial/>`, "/etc/cron.d/x"},
	{"path smuggled into our log", `dev <serial><log file='/x'><source path='/etc/x'/></log></serial>`, "/etc/x"},
	{"entropy from a file", `dev <rng model='virtio'><backend model='random'>/etc/shadow</backend></rng>`, "/etc/shadow"},
	{"entropy from a relative file", `dev <rng model='virtio'><backend model='random'>vmlinuz</backend></rng>`, "absolute"},
	{"entropy from a daemon", `dev <rng model='virtio'><backend model='egd' type='unix'><source path='/run/x'/></backend></rng>`, `model="egd"`},
	{"TPM of the host", `dev <tpm><backend type='passthrough'/></tpm>`, `type="passthrough"`},
	{"TPM state elsewhere", `dev <tpm><backend type='emulator'><source type='dir' path='/etc'/></backend></tpm>`, `"/etc"`},
	{"TPM daemon", `dev <tpm><backend type='external'><source type='unix' path='/run/x'/></backend></tpm>`, `type="external"`},
	{"smart cards of the host", `dev <smartcard mode='host'/>`, `mode="host"`},
	{"certificates of the host", `dev <smartcard mode='host-certificates'><database>/etc/pki</database></smartcard>`, "host-certificates"},
	{"smart card over TCP", `dev <smartcard mode='passthrough' type='tcp'/>`, `type="tcp"`},
	{"persistent memory", `dev <memory model='nvdimm'><source><path>/etc/shadow</path></source></memory>`, "/etc/shadow"},
	{"option ROM", `dev <interface type='bridge'><source bridge='b'/><rom file='/etc/shadow'/></interface>`, "/etc/shadow"},
	{"VNC socket", `dev <graphics type='vnc' socket='/etc/x'/>`, "/etc/x"},
	{"VNC listen socket", `dev <graphics type='vnc'><listen type='socket' socket='/etc/x'/></graphics>`, "/etc/x"},
	{"X display", `dev <graphics type='sdl' xauth='/root/.Xauthority' display=':0'/>`, `type="sdl"`},
	{"GPU of the host", `dev <graphics type='spice'><gl enable='yes'/></graphics>`, "GPU"},
	{"render node", `dev <graphics type='spice'><gl rendernode='/dev/dri/renderD128'/></graphics>`, "renderD128"},
	{"headless GPU", `dev <graphics type='egl-headless'/>`, "egl-headless"},
	{"render node of the video", `dev <video><model><acceleration rendernode='/dev/dri/card0'/></model></video>`, "card0"},
	{"keymap", `dev <graphics type='vnc' keymap='../../../etc/shadow'/>`, "keymap"},
	{"sound into a file", `dev <audio id='1' type='file' path='/etc/cron.d/x'/>`, `type="file"`},
	{"keyboard of the host", `dev <input type='evdev'><source dev='/dev/input/event0'/></input>`, `type="evdev"`},
	{"input passthrough", `dev <input type='passthrough' bus='virtio'><source evdev='/dev/input/event0'/></input>`, `type="passthrough"`},
	{"emulator", `dev <emulator>/bin/sh</emulator>`, "/bin/sh"},
	{"uploaded emulator", `dev <emulator>/srv/vms/qemu</emulator>`, "/srv/vms/qemu"},
	{"emulator by a detour", `dev <emulator>/usr/bin/../bin/kvm</emulator>`, "/usr/bin/../bin/kvm"},
	{"no confinement", `<seclabel type='none'/>`, `type="none"`},
	{"no confinement by model", `<seclabel model='none'/>`, "none"},
	{"root by a label", `<seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>`, `type="static"`},
	{"base label", `<seclabel type='dynamic' model='dac'><baselabel>root:root</baselabel></seclabel>`, "<baselabel>"},
	{"disk without label", `disk <source file='/srv/vms/a'><seclabel type='none'/></source>`, `type="none"`},
	{"disk given away", `disk <source file='/srv/vms/a'><seclabel model='dac' relabel='yes'><label>root:root</label></seclabel></source>`, "<label>"},
	{"control group", `<resource><partition>/system.slice</partition></resource>`, "/system.slice"},
	{"throttled host disk", `<blkiotune><device><path>/dev/sda</path><weight>1</weight></device></blkiotune>`, "/dev/sda"},
	{"time zone file", `<clock offset='timezone' timezone='/etc/shadow'/>`, "/etc/shadow"},
	{"time zone by a detour", `<clock offset='timezone' timezone='../../etc/shadow'/>`, "timezone"},
	{"something new", `dev <teleporter beam='/etc/shadow'/>`, "/etc/shadow"},
	{"something new, relative", `dev <teleporter beam='etc/shadow'/>`, "etc/shadow"},
	{"something new as text", `<teleporter>etc/shadow</teleporter>`, "etc/shadow"},
	{"metadata in the wrong place", `dev <metadata><kernel>/etc/shadow</kernel></metadata>`, "/etc/shadow"},
	{"command line in the wrong place", `dev <cmdline>/etc/shadow</cmdline>`, "/etc/shadow"},
}

// decision: refused elements
// decision: hypervisor
// decision: files
// decision: disks
// decision: RBD names
// decision: interfaces
// decision: character devices
// decision: other devices
// decision: security labels
func TestHostileDocumentsAreDeniedWithTheirReason(t *testing.T) {
	seen := map[string]bool{}
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			if seen[tt.name] {
				t.Fatal("the name is taken")
			}
			seen[tt.name] = true
			doc := guest(tt.piece)
			err := restricted.Check(doc)
			if !errs.Is(err, errs.Denied) {
				t.Fatalf("error %v, want a denied one for\n%s", err, doc)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "line ") {
				t.Errorf("error %q does not say %q and the line", err, tt.want)
			}
			if err := (Policy{Unrestricted: true}).Check(doc); err != nil {
				t.Errorf("unrestricted: %v", err)
			}
		})
	}
}

// decision: documents
func TestUnreadableDocumentsAreInvalidUnderEveryPolicy(t *testing.T) {
	for _, p := range []Policy{restricted, {Unrestricted: true}} {
		for _, doc := range []string{"", "<domain>", "<!DOCTYPE domain><domain/>", "<domain/><domain/>",
			"<domain><devices><x:hostdev xmlns:x='urn:x'/></devices></domain>",
			"<domain><devices><disk xmlns:x='urn:x'><source x:file='/etc/shadow'/></disk></devices></domain>"} {
			if err := p.Check(doc); !errs.Is(err, errs.Invalid) {
				t.Errorf("%+v %s: %v, want an invalid error", p, doc, err)
			}
		}
	}
}

func TestPolicyTakesItsDirectoriesAndEmulatorsLiterally(t *testing.T) {
	disk := guest(`disk <source file='/srv/vms/a'/>`)
	tests := []struct {
		name string
		p    Policy
		doc  string
		ok   bool
	}{
		{"below", Policy{FileDirectories: []string{"/srv/vms"}}, disk, true},
		{"unclean directory", Policy{FileDirectories: []string{"/srv//vms/."}}, disk, true},
		{"no directory", Policy{}, disk, false},
		{"relative directory", Policy{FileDirectories: []string{"srv/vms", "", "."}}, disk, false},
		{"root directory", Policy{FileDirectories: []string{"/"}}, disk, true},
		{"other directory", Policy{FileDirectories: []string{"/srv/vm"}}, disk, false},
		{"default emulator", Policy{}, guest(`dev <emulator>/usr/bin/qemu-kvm</emulator>`), true},
		{"other emulator", Policy{Emulators: []string{"/opt/qemu"}}, guest(`dev <emulator>/opt/qemu</emulator>`), true},
		{"default no longer", Policy{Emulators: []string{"/opt/qemu"}}, guest(`dev <emulator>/usr/bin/kvm</emulator>`), false},
	}
	for _, tt := range tests {
		if err := tt.p.Check(tt.doc); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// schemaExceptions are places that libvirt's schema calls paths and that we judge
// otherwise: network device names, and devices that are refused as a whole.
var schemaExceptions = []string{
	"portgroup", "name", "dev", "actual", // attributes: interface names; source@dev is tested in the corpus
	"emulator", "interface", // elements
}

func TestEveryPathOfLibvirtsSchemaIsAPathForThePolicy(t *testing.T) {
	f, err := os.Open("/usr/share/libvirt/schemas/domaincommon.rng")
	if err != nil {
		t.Skipf("libvirt's schema is not installed: %v", err)
	}
	defer f.Close()
	places := schemaPaths(t, f)
	if len(places) < 30 {
		t.Fatalf("only %d places found: the schema is not understood", len(places))
	}
	for place := range places {
		kind, name, _ := strings.Cut(place, " ")
		if slices.Contains(schemaExceptions, name) {
			continue
		}
		if kind == "attribute" && !pathAttributes[name] || kind == "element" && !pathElements[name] {
			t.Errorf("%s is a path in the schema, not in our rules", place)
		}
	}
}

// schemaPaths returns "attribute x" and "element y" for everything whose value the
// schema declares a path.
func schemaPaths(t *testing.T, f *os.File) map[string]bool {
	t.Helper()
	paths := []string{"absFilePath", "filePath", "absDirPath", "dirPath", "deviceName"}
	places := map[string]bool{}
	var open []string // the elements and attributes around the reader, "" for others
	for dec := xml.NewDecoder(f); ; {
		tok, err := dec.Token()
		if err != nil {
			return places
		}
		switch e := tok.(type) {
		case xml.StartElement:
			name := ""
			for _, a := range e.Attr {
				if a.Name.Local == "name" {
					name = a.Value
				}
			}
			if e.Name.Local == "ref" && slices.Contains(paths, name) {
				places[innermost(open)] = true
			}
			place := ""
			if e.Name.Local == "attribute" || e.Name.Local == "element" {
				place = e.Name.Local + " " + name
			}
			open = append(open, place)
		case xml.EndElement:
			open = open[:len(open)-1]
		}
	}
}

func innermost(open []string) string {
	for _, place := range slices.Backward(open) {
		if place != "" {
			return place
		}
	}
	return "element kernel" // a bare definition
}
