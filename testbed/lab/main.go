package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
)

// Setup is the cluster of a test package.
type Setup struct {
	Name     string          // of the package, for messages
	Needs    []string        // programs beside those of every cluster
	Testbed  testbed.Options // Binaries are built
	Deadline time.Duration   // see Lab
}

// needed is what every cluster with guests needs.
var needed = []string{"/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/share/java/zookeeper.jar"}

// Run is for TestMain: it runs the tests on a new cluster, which ready is told of, and
// returns the exit status. The logs of a failed run are kept. Where something is missing
// nothing is tested, which is said.
func (s Setup) Run(m *testing.M, ready func(*Lab)) int {
	if missing := s.missing(); missing != "" {
		fmt.Printf("%s: nothing is tested: %s is needed\n", s.Name, missing)
		return 0
	}
	dir, err := os.MkdirTemp("", "pvc-"+s.Name+"-")
	if err != nil {
		fmt.Printf("%s: %v\n", s.Name, err)
		return 1
	}
	defer os.RemoveAll(dir)
	l, err := s.up(dir)
	if err != nil {
		fmt.Printf("%s: %v\n", s.Name, err)
		return 1
	}
	ready(l)
	code := m.Run()
	if code != 0 {
		KeepLogs(s.Name, l.Cluster)
	}
	if err := l.Cluster.Down(context.Background()); err != nil {
		fmt.Printf("%s: %v\n", s.Name, err)
		return 1
	}
	return code
}

func (s Setup) missing() string {
	if os.Getuid() != 0 {
		return "root"
	}
	for _, file := range needed {
		if _, err := os.Stat(file); err != nil {
			return file
		}
	}
	for _, program := range s.Needs {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	return ""
}

func (s Setup) up(dir string) (*Lab, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := testbed.BuildDaemons(ctx, dir, testbed.Watched()...); err != nil {
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
	if l.Images, err = built.CopyTo(filepath.Join(l.Cluster.SharedDir(), "images")); err != nil {
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
