package project

import (
	"strings"
	"testing"
)

// programs are the trees that share nothing but common; the testbed comes last.
var programs = []string{"api-daemon", "node-daemon", "client-cli", "testbed"}

// TestCommonNeverImportsAProgram: its tests may use the testbed's servers.
func TestCommonNeverImportsAProgram(t *testing.T) {
	check := func(imports map[string][]string, forbidden []string) {
		for name, files := range imports {
			if to, ok := own(name); ok && within(to, forbidden...) {
				t.Errorf("%s imports %s", strings.Join(files, ", "), to)
			}
		}
	}
	daemons := programs[:len(programs)-1]
	for dir, p := range tree(t) {
		if within(dir, "common") {
			check(p.imports, programs)
			check(p.testImports, daemons)
		}
	}
}

func TestProgramsNeverImportEachOther(t *testing.T) {
	pkgs := tree(t)
	for dir := range pkgs {
		for _, program := range programs {
			if !within(dir, program) || program == "testbed" { // the testbed builds and starts the others
				continue
			}
			for to, way := range reaches(pkgs, dir) {
				if within(to, programs...) && !within(to, program) {
					t.Errorf("%s", way)
				}
			}
		}
	}
}

func TestImportsPointOneWay(t *testing.T) {
	pkgs := tree(t)
	order := []string{"common/errs", "common/model", "common/schema", "common/coord", "common/view", "common/command", "common/cluster"}
	for i, lower := range order {
		for dir := range pkgs {
			if !within(dir, lower) {
				continue
			}
			for to, way := range reaches(pkgs, dir) {
				if within(to, order[i+1:]...) {
					t.Errorf("%s", way)
				}
			}
		}
	}
}

// TestPurePackagesDoNoIO: what decides can be tested without anything around it.
func TestPurePackagesDoNoIO(t *testing.T) {
	pkgs := tree(t)
	for _, dir := range []string{"common/model", "common/schema", "common/placement"} {
		p := pkgs[dir]
		if p == nil {
			t.Errorf("%s does not exist", dir)
			continue
		}
		for _, name := range []string{"os", "os/exec", "net", "net/http", "syscall", "log/slog", "golang.org/x/sys/unix"} {
			for _, file := range p.imports[name] {
				t.Errorf("%s imports %s", file, name)
			}
		}
	}
}

// TestForeignLibrariesStayBehindTheirSeam: one package each may know them.
func TestForeignLibrariesStayBehindTheirSeam(t *testing.T) {
	const libvirt, rados = "node-daemon/internal/hypervisor/libvirt", "node-daemon/internal/ceph/rados"
	const netctl, primary = "node-daemon/internal/netctl/", "node-daemon/internal/primary"
	seams := map[string][]string{ // prefix of an import path: where it may be used
		"C":                           {libvirt, rados},
		"libvirt.org/go/libvirt":      {libvirt},
		"github.com/ceph/go-ceph":     {rados},
		"github.com/go-zookeeper/zk":  {"common/coord/zk"},
		"gopkg.in/yaml.v3":            {"common/config", "testbed"},
		"github.com/gorilla/mux":      {"api-daemon"},
		"github.com/gorilla/sessions": {"api-daemon/internal/auth"},

		"github.com/miekg/dns":           {netctl + "dns", "testbed"},
		"github.com/vishvananda/netlink": {netctl + "link", netctl + "address", netctl + "firewall"},
		"github.com/vishvananda/netns":   {netctl + "link"},
	}
	for dir, p := range tree(t) {
		for name, files := range p.imports {
			for seam, allowed := range seams {
				if within(name, seam) && !within(dir, allowed...) {
					t.Errorf("%s imports %s; allowed in %v", strings.Join(files, ", "), name, allowed)
				}
			}
		}
	}
}

// A program that is supervised for hours is no command: package dhcp starts its own.
func TestExternalProgramsAreStartedOnlyByRun(t *testing.T) {
	for dir, p := range tree(t) {
		if within(dir, "common/run", "testbed", "node-daemon/internal/netctl/dhcp") {
			continue
		}
		for _, file := range p.imports["os/exec"] {
			t.Errorf("%s imports os/exec; common/run is the way", file)
		}
	}
}

func TestMainsAreThin(t *testing.T) {
	const most = 30
	for dir, p := range tree(t) {
		if !p.command || !within(dir, "api-daemon", "node-daemon", "client-cli") {
			continue
		}
		if n := strings.Count(readFile(t, dir+"/main.go"), "\n"); n > most {
			t.Errorf("%s/main.go has %d lines, more than %d", dir, n, most)
		}
	}
}
