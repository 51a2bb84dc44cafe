package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// Setup is the cluster of a test package.
type Setup struct {
	Name     string          // of the package, for messages
	Needs    []string        // programs, and files by their whole path, beside those of every cluster
	Gates    bool            // the daemons can be held at steps of their work
	Testbed  testbed.Options // Binaries are built
	Deadline time.Duration   // see Lab
}

// needed is what every cluster with guests needs.
var needed = []string{"/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/share/java/zookeeper.jar", "/usr/bin/nsenter"}

// upDeadline bounds building the daemons and bringing a cluster up.
const upDeadline = 6 * time.Minute

// Run is for TestMain: it runs the tests on a new cluster, after ready has made of it what
// they need, and returns the exit status. A race or a panic in the log of a daemon is a
// failure too. The logs of a failed run are kept. Where something is missing nothing is
// tested, which is said.
func (s Setup) Run(m *testing.M, ready func(context.Context, *Lab) error) int {
	if missing := s.missing(); len(missing) > 0 {
		fmt.Printf("%s: nothing is tested: missing %s\n", s.Name, strings.Join(missing, ", "))
		return 0
	}
	dir, err := os.MkdirTemp("", "pvc-"+s.Name+"-")
	if err != nil {
		return s.failed(err)
	}
	defer os.RemoveAll(dir)
	l, err := s.up(dir)
	if err != nil {
		return s.failed(err)
	}
	code := 1
	if err := s.ready(l, ready); err != nil {
		s.failed(err)
	} else {
		code = m.Run()
	}
	l.Records.Close()
	if faults := DaemonFaults(l.Cluster); len(faults) > 0 {
		code = s.failed(fmt.Errorf("the daemons' logs hold:\n%s", strings.Join(faults, "\n")))
	}
	if code != 0 {
		KeepLogs(s.Name, l.Cluster)
	}
	if err := l.Cluster.Down(context.Background()); err != nil {
		return s.failed(err)
	}
	return code
}

func (s Setup) failed(err error) int {
	fmt.Printf("%s: %v\n", s.Name, err)
	return 1
}

func (s Setup) ready(l *Lab, ready func(context.Context, *Lab) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), upDeadline)
	defer cancel()
	return ready(ctx, l)
}

// missing is what this machine lacks.
func (s Setup) missing() (missing []string) {
	if os.Getuid() != 0 {
		return []string{"root: hosts are namespaces"}
	}
	for _, what := range slices.Concat(needed, s.Needs) {
		_, err := os.Stat(what)
		if !filepath.IsAbs(what) {
			_, err = exec.LookPath(what)
		}
		if err != nil {
			missing = append(missing, what)
		}
	}
	if !s.Testbed.Storage {
		return append(missing, host.MissingTools()...)
	}
	if m := ceph.Missing(); m != "" {
		missing = append(missing, m)
	}
	if found, _ := filepath.Glob("/usr/lib/*/qemu/block-rbd.so"); len(found) == 0 { // the pattern is well-formed
		missing = append(missing, "QEMU's block driver for RBD (Debian package qemu-block-extra)")
	}
	return append(missing, host.MissingTools()...)
}

func (s Setup) up(dir string) (*Lab, error) {
	ctx, cancel := context.WithTimeout(context.Background(), upDeadline)
	defer cancel()
	flags := testbed.Watched()
	if s.Gates {
		flags = append(flags, "-tags", "gates")
	}
	if err := testbed.BuildDaemons(ctx, dir, flags...); err != nil {
		return nil, err
	}
	built, err := guest.Build(ctx, testbed.GuestCache(testbed.DefaultRoot()), func(line string) { fmt.Printf("%s: %s\n", s.Name, line) })
	if err != nil {
		return nil, err
	}
	s.Testbed.Binaries = dir
	l := &Lab{Deadline: s.Deadline}
	if l.Cluster, err = testbed.Up(ctx, s.Testbed); err != nil {
		return nil, err
	}
	if l.Images, err = built.CopyTo(filepath.Join(l.Cluster.SharedDir(), "images")); err == nil {
		l.Records, err = zk.Dial(ctx, coord.Options{Servers: l.Cluster.ZooKeeperAddrs(), Timeout: time.Minute})
	}
	if err != nil {
		_ = l.Cluster.Down(context.Background()) // the first failure is told
		return nil, err
	}
	return l, nil
}

// KeepLogs copies the logs of a package's failed run to where the next run does not
// remove them, and says where.
func KeepLogs(name string, c *testbed.Cluster) {
	dir, err := os.MkdirTemp("", "pvc-"+name+"-logs-")
	if err != nil {
		return
	}
	for _, h := range c.Hosts() {
		logs, _ := filepath.Glob(h.Path("/var/log/*.log")) // the patterns are good ones
		ceph, _ := filepath.Glob(h.Path("/var/log/ceph/*.log"))
		for _, log := range append(logs, ceph...) {
			if b, err := os.ReadFile(log); err == nil {
				_ = os.WriteFile(filepath.Join(dir, h.Name+"-"+filepath.Base(log)), b, 0o600) // what cannot be kept is missing there
			}
		}
	}
	fmt.Printf("%s: logs of this run: %s\n", name, dir)
}
