package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// libvirtSocket is where a host's libvirtd listens for programs of that host.
const libvirtSocket = "/run/libvirt/libvirt-sock"

// hostFiles are the files below /etc of host i.
func (o Options) hostFiles(i int, a *authority, s secrets) ([]host.File, error) {
	files, err := pkiFiles(a, o.name(i), o.addr(i))
	if err != nil {
		return nil, err
	}
	files = append(files,
		host.File{Name: "hosts", Content: o.hostsFile()},
		host.File{Name: "hostname", Content: o.name(i) + "\n"},
		host.File{Name: "machine-id", Content: strings.ReplaceAll(host.RandomUUID(), "-", "") + "\n"},
		host.File{Name: "libvirt/libvirtd.conf", Content: o.libvirtdConf()},
		host.File{Name: "libvirt/qemu.conf", Content: o.qemuConf(i)},
		host.File{Name: "libvirt/libvirt.conf", Content: "uri_default = \"qemu:///system\"\n"})
	if o.Storage {
		files = append(files, o.cephFiles(i, s)...)
	}
	if o.Binaries == "" {
		return files, nil
	}
	daemons, err := o.daemonFiles(i, s)
	return append(files, daemons...), err
}

func (o Options) hostsFile() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for i := 1; i <= o.Hosts; i++ {
		fmt.Fprintf(&b, "%s %s\n", o.addr(i), o.name(i))
	}
	return b.String()
}

// libvirtdConf: hosts talk over TLS only. Different host UUIDs are essential:
// libvirt refuses to migrate to "itself".
func (o Options) libvirtdConf() string {
	return `listen_tls = 1
listen_tcp = 0
auth_tls = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
host_uuid = "` + host.RandomUUID() + `"
log_level = 3
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
# a silent client is dropped after 5 s x (3 + 1)
keepalive_interval = 5
keepalive_count = 3
`
}

// qemuConf: the machine's QEMU runs as root and leaves files as they are. Logs
// are written by QEMU itself, which spares virtlogd.
func (o Options) qemuConf(i int) string {
	return `security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
migration_address = "` + o.addr(i) + `"
migration_host = "` + o.addr(i) + `"
# the silent other end of a migration is given up after 5 s x (3 + 1)
keepalive_interval = 5
keepalive_count = 3
`
}

// zooKeeper is the configuration of the server on host i.
func (o Options) zooKeeper(i int) ensemble.Config {
	return ensemble.Config{ID: i, Addrs: o.coordinatorAddrs(), Dir: filepath.Join(o.dir(), o.name(i), "zookeeper"), Tick: tick, FSync: o.FSync}
}

// services of host i, in the order in which they are started.
func (o Options) services(i int) []host.Service {
	var s []host.Service
	if !o.NoZooKeeper && i <= o.Coordinators {
		s = append(s, host.Service{Name: ZooKeeper, Argv: o.zooKeeper(i).Command(), Log: "/var/log/zookeeper.log"})
	}
	s = append(s, host.Service{Name: Libvirtd, Argv: []string{"/usr/sbin/libvirtd", "--listen"}, Log: "/var/log/libvirtd.out"})
	if o.Storage {
		s = append(s, o.cephServices(i)...)
	}
	if o.Binaries == "" {
		return s
	}
	s = append(s, host.Service{Name: PVCD, Argv: []string{filepath.Join(o.Binaries, "pvcd")}, Log: "/var/log/pvcd.log", After: libvirtSocket,
		Env: []string{"PVCD_CONFIG_FILE=/etc/" + pvcdFile, "PVC_BOOT_ID_FILE=" + host.BootIDFile, "PVC_UNIT_SOCKET=" + host.ControlSocket}})
	if i > o.Coordinators {
		return s
	}
	return append(s, host.Service{Name: PVCAPI, Argv: []string{filepath.Join(o.Binaries, "pvc-api")}, Log: "/var/log/pvc-api.log",
		Env: []string{"PVC_CONFIG_FILE=/etc/" + apiFile}})
}

// Watched are the flags with which tests of whole clusters build their daemons: in the long
// form (PVC_TEST_LONG) with the race detector, which takes most of two processors when five
// hosts run under it.
func Watched() []string {
	if os.Getenv("PVC_TEST_LONG") != "" {
		return []string{"-race"}
	}
	return nil
}

// BuildDaemons compiles pvcd and pvc-api of the module in which the calling
// process stands into dir. Flags go to the go command (-race, -tags=a,b). Tags are
// added to those of GOFLAGS, in whose place the go command would put them.
func BuildDaemons(ctx context.Context, dir string, flags ...string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("build daemons: %w", err)
	}
	usual, err := exec.CommandContext(ctx, "go", "env", "GOFLAGS").Output()
	if err != nil {
		return fmt.Errorf("build daemons: go env GOFLAGS: %w", err)
	}
	flags = addTags(flags, tagsOf(strings.Fields(string(usual))))
	for binary, pkg := range map[string]string{"pvcd": "node-daemon", "pvc-api": "api-daemon"} {
		argv := append([]string{"build"}, flags...)
		argv = append(argv, "-o", filepath.Join(dir, binary), modulePath+"/"+pkg)
		cmd := exec.CommandContext(ctx, "go", argv...)
		cmd.WaitDelay = time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", binary, err, out)
		}
	}
	return nil
}

// tagsOf is the value of the last -tags among flags, "" if there is none.
func tagsOf(flags []string) string {
	tags := ""
	for i, flag := range flags {
		name, value, ok := strings.Cut("-"+strings.TrimLeft(flag, "-"), "=")
		switch {
		case name != "-tags":
		case ok:
			tags = value
		case i+1 < len(flags):
			tags = flags[i+1]
		}
	}
	return tags
}

// addTags are flags with more tags, if they have any of their own.
func addTags(flags []string, tags string) []string {
	own := tagsOf(flags)
	if own == "" || tags == "" {
		return flags
	}
	return append(slices.Clone(flags), "-tags="+own+","+tags)
}

const modulePath = "github.com/parallelvirtualcluster/pvc"
