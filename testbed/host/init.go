package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	initName   = "pvc-testbed-init" // argv[0] by which the program knows its part
	readyWord  = "ready"
	standIns   = "/run/testbed/bin"
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + standIns
)

// initSpec is what an init has to do.
type initSpec struct {
	Name     string // host name
	Addr     string // address of eth0 with its length; empty: leave the network alone
	Trunk    bool   // there is an eth1
	Control  string // socket for commands; empty: no services
	Mounts   *mounts
	Services []Service
	Enabled  string // folder with a file for each unit that is enabled
}

// The init is this very program under another name: a test binary brings its
// init along. Nothing but a look at argv[0] may happen here in other programs.
func init() {
	if os.Args[0] != initName {
		return
	}
	fmt.Fprintln(os.Stderr, "init:", runInit())
	os.Exit(1)
}

// runInit is the life of an init; it returns only if the host cannot be made.
func runInit() error {
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	wired, verdict := os.NewFile(3, "wired"), os.NewFile(4, "verdict")
	var spec initSpec
	sup, listeners, err := prepare(&spec, wired)
	if err != nil {
		fmt.Fprintln(verdict, err)
		return err
	}
	// Registered before anything is started, so that no child's end is missed.
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for _, l := range listeners {
		go serveControl(l, sup) // for as long as the host lives
	}
	for _, s := range spec.Services {
		sup.define(s)
	}
	if spec.Enabled != "" {
		sup.startEnabled(spec.Enabled)
	}
	fmt.Fprintln(verdict, readyWord)
	verdict.Close()
	sup.run(children)
	return errors.New("not reached: a supervisor runs until it is killed")
}

// prepare turns the fresh namespaces into a machine.
func prepare(spec *initSpec, wired *os.File) (*supervisor, []net.Listener, error) {
	if len(os.Args) != 2 {
		return nil, nil, errors.New("want one argument")
	}
	if err := json.Unmarshal([]byte(os.Args[1]), spec); err != nil {
		return nil, nil, err
	}
	if _, err := io.Copy(io.Discard, wired); err != nil {
		return nil, nil, fmt.Errorf("wait for the network: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, nil, fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return nil, nil, fmt.Errorf("mount /proc: %w", err)
	}
	if err := quietBridges(); err != nil {
		return nil, nil, err
	}
	if spec.Control == "" {
		return newSupervisor(), nil, nil
	}
	if err := spec.Mounts.apply(); err != nil {
		return nil, nil, err
	}
	if err := unix.Sethostname([]byte(spec.Name)); err != nil {
		return nil, nil, fmt.Errorf("set host name: %w", err)
	}
	if err := configureNetwork(spec); err != nil {
		return nil, nil, err
	}
	var listeners []net.Listener
	for _, socket := range []string{spec.Control, ControlSocket} { // for the machine, for the host itself
		l, err := net.Listen("unix", socket)
		if err != nil {
			return nil, nil, err
		}
		listeners = append(listeners, l)
	}
	return newSupervisor(), listeners, nil
}

// quietBridges keeps bridged frames out of the IP firewall, which a kernel with
// br_netfilter would run them through.
func quietBridges() error {
	files, err := filepath.Glob("/proc/sys/net/bridge/bridge-nf-call-*")
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.WriteFile(file, []byte("0\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func configureNetwork(spec *initSpec) error {
	ctx, cancel := initContext()
	defer cancel()
	batch := "link set lo up\naddr add " + spec.Addr + " dev eth0\nlink set eth0 up\n"
	if spec.Trunk {
		batch += "link set eth1 up\n"
	}
	_, err := run(ctx, batch, "ip", "-batch", "-")
	return err
}

// mounts is the part of the file system that a host has for itself.
type mounts struct {
	Etc   string            // folder with upper/ and work/ of an overlay on /etc
	Binds map[string]string // mount point → folder
	Disks []string          // files behind the disks
}

func (m *mounts) apply() error {
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := privateDev(); err != nil {
		return fmt.Errorf("make /dev: %w", err)
	}
	if err := attachDisks(m.Disks); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s", filepath.Join(m.Etc, "upper"), filepath.Join(m.Etc, "work"))
	if err := unix.Mount("overlay", "/etc", "overlay", 0, options); err != nil {
		return fmt.Errorf("mount overlay on /etc (%s): %w", options, err)
	}
	for point, dir := range m.Binds {
		if err := os.MkdirAll(point, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, point, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s on %s: %w", dir, point, err)
		}
	}
	return nil
}

// devices are the nodes a host gets of those that the machine has.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty", "kvm", "net/tun", "vhost-net", "fuse"}

// privateDev replaces /dev by one with the common devices and terminals of its own.
func privateDev() error {
	stat := map[string]unix.Stat_t{}
	for _, d := range devices {
		var st unix.Stat_t
		if err := unix.Stat("/dev/"+d, &st); err == nil {
			stat[d] = st
		}
	}
	if err := unix.Mount("dev", "/dev", "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return err
	}
	for _, d := range []string{"/dev/net", "/dev/pts", "/dev/shm"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for d, st := range stat {
		if err := unix.Mknod("/dev/"+d, st.Mode, int(st.Rdev)); err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
		if err := os.Chmod("/dev/"+d, os.FileMode(st.Mode&0o777)); err != nil {
			return err
		}
	}
	if err := unix.Mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5"); err != nil {
		return fmt.Errorf("pts: %w", err)
	}
	if err := unix.Mount("shm", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("shm: %w", err)
	}
	for link, target := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, "/dev/"+link); err != nil {
			return err
		}
	}
	return nil
}
