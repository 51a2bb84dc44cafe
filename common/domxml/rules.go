package domxml

import (
	"regexp"
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// refusedElements are refused wherever they stand.
var refusedElements = map[string]string{
	"hostdev":    "it gives a device of the host to the guest",
	"filesystem": "it shares a directory of the host with the guest",
	"shmem":      "it shares memory of the host with the guest",
	"script":     "it runs a program on the host",
	"downscript": "it runs a program on the host",
	"bootloader": "it runs a program on the host",
	"lease":      "it names a lock file of the host",
}

// choice is an attribute that decides what an element is. An empty text in allowed
// means that it may be missing.
type choice struct {
	attribute string
	allowed   []string
	why       string
}

var (
	imageTypes = choice{"type", []string{"", "file", "block", "dir", "network"}, "only files, block devices and RBD images can be judged"}
	// Sockets on the host's own addresses reach services that only the host should reach.
	charDevice = choice{"type", []string{"", "null", "vc", "pty", "stdio", "file", "pipe", "dev", "unix", "spicevmc", "spiceport", "qemu-vdagent"},
		"it opens a network socket of the host"}
)

// choices by the path of the element.
var choices = map[string][]choice{
	"domain":                   {{"type", []string{"", "qemu", "kvm"}, "only qemu and kvm guests are supported"}},
	"domain/os/nvram":          {imageTypes},
	"domain/devices/disk":      {imageTypes},
	"domain/devices/serial":    {charDevice},
	"domain/devices/parallel":  {charDevice},
	"domain/devices/console":   {charDevice},
	"domain/devices/channel":   {charDevice},
	"domain/devices/redirdev":  {charDevice},
	"domain/devices/smartcard": {{"mode", []string{"passthrough"}, "it uses the host's smart cards or certificates"}, charDevice},
	"domain/devices/interface": {{"type", []string{"bridge", "network", "direct"}, "only bridge, network and direct (macvtap) keep away from the host's own sockets and devices"}},
	"domain/devices/graphics":  {{"type", []string{"vnc", "spice"}, "only vnc and spice do without devices of the host"}},
	"domain/devices/graphics/gl": {
		{"enable", []string{"", "no"}, "it opens the host's GPU"}},
	"domain/devices/audio":       {{"type", []string{"none", "spice"}, "it uses the host's sound or files"}},
	"domain/devices/input":       {{"type", []string{"mouse", "tablet", "keyboard"}, "it uses the host's input devices"}},
	"domain/devices/tpm/backend": {{"type", []string{"emulator"}, "it uses the host's TPM or a program of the host"}},
	"domain/devices/rng/backend": {{"model", []string{"random", "builtin"}, "it opens a socket of the host"}},
}

// choicesFor returns what holds for an element. Backing files nest at will.
func choicesFor(n *node, where string) []choice {
	if n.name == "backingStore" || n.name == "mirror" {
		return []choice{imageTypes}
	}
	return choices[where]
}

// pathElements take a host path as their text.
var pathElements = map[string]bool{
	"kernel": true, "initrd": true, "dtb": true, "shim": true, "root": true, "loader": true, "nvram": true, "varstore": true,
	"init": true, "initdir": true, "table": true, "database": true, "path": true, "partition": true,
	"backend": true, "block": true, "char": true, "binary": true,
}

// pathAttributes take a host path.
var pathAttributes = map[string]bool{
	"file": true, "dir": true, "socket": true, "path": true, "template": true, "evdev": true, "rendernode": true,
	"tap": true, "vhost": true, "tty": true, "xauth": true, "logFile": true, "keyfile": true, "keytab": true,
	"master": true, "slave": true, "runtimeDir": true,
}

// takesPath reports whether an attribute is a path even if no slash stands in it:
// relative to the working directory of QEMU, which is the root directory.
func takesPath(n *node, where, name string) bool {
	if name == "dev" && n.name == "source" {
		return !strings.HasPrefix(where, "domain/devices/interface/") // there it is a network device
	}
	return pathAttributes[name]
}

// freeText are the places whose value never leaves the guest, or the document.
var freeText = map[string]bool{
	"domain/title": true, "domain/description": true, "domain/os/cmdline": true,
	"domain/sysinfo/entry": true, "domain/sysinfo/entry@name": true,
	"domain/sysinfo/bios/entry": true, "domain/sysinfo/system/entry": true, "domain/sysinfo/baseBoard/entry": true,
	"domain/sysinfo/chassis/entry": true, "domain/sysinfo/oemStrings/entry": true,
	"domain/devices/disk/serial": true, "domain/devices/disk/vendor": true, "domain/devices/disk/product": true,
	"domain/devices/disk/auth/secret@usage": true, "domain/devices/disk/source/auth/secret@usage": true,
	"domain/devices/graphics@passwd":                     true,
	"domain/devices/interface/filterref/parameter@value": true,
	"domain/launchSecurity/dhCert":                       true, "domain/launchSecurity/session": true, // base64
	"domain/launchSecurity/idBlock": true, "domain/launchSecurity/idAuth": true, "domain/launchSecurity/hostData": true,
}

// harmlessPaths are host paths outside of the configured directories that any guest
// may name.
var harmlessPaths = map[string]func(c *checker, n *node, value string) bool{
	"domain/os/loader":                       isFirmware,
	"domain/os/nvram@template":               isFirmware,
	"domain/os/nvram":                        isOwnNVRAM,
	"domain/clock@timezone":                  func(_ *checker, _ *node, v string) bool { return timezone.MatchString(v) },
	"domain/resource/partition":              exactly("/machine"),
	"domain/devices/rng/backend":             exactly("/dev/urandom", "/dev/random", "/dev/hwrng"),
	"domain/devices/disk/source/config@file": exactly("/etc/ceph/ceph.conf"),
	"domain/devices/console@tty":             isTerminal,
	"domain/devices/serial/source@path":      isTerminal,
	"domain/devices/console/source@path":     isTerminal,
	"domain/devices/channel/source@path":     isTerminal,
	"domain/devices/parallel/source@path":    isTerminal,
}

var (
	terminal = regexp.MustCompile(`^/dev/pts/[0-9]{1,9}$`)
	timezone = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$`)
	rbdName  = regexp.MustCompile(`^[^/:@,\\]+(/[^/:@,\\]+){1,2}$`)
	// firmwareDirectories hold what distributions install for everybody to read.
	firmwareDirectories = []string{"/usr/share/OVMF", "/usr/share/AAVMF", "/usr/share/edk2", "/usr/share/qemu", "/usr/share/seabios", "/usr/share/qemu-efi-aarch64"}
)

func exactly(paths ...string) func(*checker, *node, string) bool {
	return func(_ *checker, _ *node, v string) bool { return slices.Contains(paths, v) }
}

func isFirmware(_ *checker, _ *node, v string) bool {
	return checkAbsolute(v) == nil && within(v, firmwareDirectories)
}

// isOwnNVRAM accepts the file that libvirt itself would choose for this VM.
func isOwnNVRAM(c *checker, _ *node, v string) bool {
	return model.CheckVMName(c.name) == nil && v == "/var/lib/libvirt/qemu/nvram/"+c.name+"_VARS.fd"
}

// isTerminal accepts what the dump of a running guest has in its pty devices; libvirt
// ignores it in a definition.
func isTerminal(_ *checker, n *node, v string) bool {
	if n.name == "source" {
		n = n.parent
	}
	return n.attr("type") == "pty" && terminal.MatchString(v)
}

// checkProtocol allows no network storage but RBD, under a plain name: QEMU reads
// options behind a colon.
func checkProtocol(n *node) error {
	protocol, name := n.attr("protocol"), n.attr("name")
	switch {
	case protocol == "" && !(n.parent.attr("type") == "network" && n.parent.name != "interface"):
		return nil
	case protocol != "rbd":
		return denied(n, "<source> with protocol=%q is not allowed: rbd is the only network storage", model.Clip(protocol))
	case !rbdName.MatchString(name) || strings.ContainsFunc(name, isControl):
		return denied(n, "RBD image %q: \"pool/volume\" without ':', '@', ',' or '\\' is needed", model.Clip(name))
	}
	return nil
}

// checkLoader refuses firmware of the distribution that the guest could rewrite.
func checkLoader(n *node) error {
	if n.attr("readonly") == "no" && within(n.content, firmwareDirectories) {
		return denied(n, "firmware %q with readonly=\"no\" is not allowed", model.Clip(n.content))
	}
	return nil
}

// checkSecurityLabel allows only labels that libvirt chooses: a static one can make
// QEMU run as root, and one of a device gives the file to whomever it names.
func checkSecurityLabel(n *node, where string) error {
	typ := n.attr("type")
	switch {
	case typ != "" && typ != "dynamic":
		return denied(n, "<seclabel type=%q> is not allowed: the guest's process must be confined by a dynamic label", model.Clip(typ))
	case n.attr("model") == "none":
		return denied(n, "<seclabel model=\"none\"> is not allowed")
	case n.child("baselabel") != nil:
		return denied(n, "<baselabel> in <seclabel> is not allowed")
	case where != "domain/seclabel" && n.child("label") != nil:
		return denied(n, "<label> of a device is not allowed")
	}
	return nil
}
