package host

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Host is one machine made of namespaces. Its fields are set before PowerOn and
// not changed afterwards. All state is in files: another process that makes an
// equal Host controls the same machine.
type Host struct {
	Name   string  // host name, at most 10 characters
	Index  int     // 1…
	Switch *Switch `json:"-"`
	Dir    string  // folder of the host's files: short, it holds sockets
	Linger bool    // outlive the process that started it
	Trunk  bool    // has a second cable, eth1, to the switch's trunk
	// Etc are files that the host finds below /etc, over what the machine has
	// there. They are written anew at every boot.
	Etc []File
	// Dirs are folders that exist after a boot, below /run, /var/log or the like.
	Dirs []string
	// Services start when the power goes on. One whose name ends with @ is the
	// template of units, which start when they are enabled: see Enable.
	Services []Service
	// Disks are the sizes, in bytes, of spare block devices, /dev/sdb and on (see
	// DiskPath). Behind them are sparse files.
	Disks []int64
}

// File is a file below /etc.
type File struct {
	Name    string // relative to /etc
	Content string
	Mode    fs.FileMode // 0 means 0644
}

// BootIDFile is where a host finds a random identifier of its present life. The
// kernel's own (random/boot_id) is the same in all hosts and after a power cut.
const BootIDFile = "/run/boot-id"

// private folders that every host has. The content of /run is lost with the power.
var privateDirs = []string{"/run", "/var/log", "/var/lib/ceph", "/var/lib/libvirt", "/var/cache/libvirt", "/etc/libvirt"}

// PowerOn boots the host: what was on its disks before is there again, /run is
// empty, all services start. It returns when the init is ready, which does not
// mean that the services are.
func (h *Host) PowerOn(ctx context.Context) error {
	if h.On() {
		return fmt.Errorf("power on host %s: %w", h.Name, os.ErrExist)
	}
	m, err := h.layout()
	if err != nil {
		return fmt.Errorf("power on host %s: %w", h.Name, err)
	}
	p := &initProcess{dir: h.Dir, linger: h.Linger,
		namespaces: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		spec: initSpec{Name: h.Name, Addr: fmt.Sprintf("%s/%d", h.Addr(), h.Switch.Subnet.Bits()),
			Trunk: h.Trunk, Control: h.controlPath(), Mounts: m, Services: h.Services, Enabled: h.enabledPath()}}
	if err := p.start(ctx, h.plugIn); err != nil {
		return fmt.Errorf("power on host %s: %w", h.Name, err)
	}
	return nil
}

// plugIn connects the host to the switch. Hardware addresses are fixed, so that a host
// that boots again is not sought at its old ones.
func (h *Host) plugIn(ctx context.Context, pid int) error {
	h.unplug() // of a host that is just dying
	for i, port := range h.ports() {
		mac := fmt.Sprintf("02:70:76:%02x:%02x:%02x", 0x63+i, h.Switch.Subnet.Addr().As4()[1], h.Index)
		if err := h.Switch.ip(ctx, "link", "add", port, "type", "veth", "peer", "name", fmt.Sprintf("eth%d", i), "address", mac, "netns", strconv.Itoa(pid)); err != nil {
			return err
		}
		if err := h.Switch.ip(ctx, "link", "set", port, "master", fmt.Sprintf("br%d", i), "up"); err != nil {
			return err
		}
	}
	return nil
}

// port is the end of the host's first cable at the switch.
func (h *Host) port() string { return "v" + h.Name }

// ports are those of all its cables.
func (h *Host) ports() []string {
	if h.Trunk {
		return []string{h.port(), "t" + h.Name}
	}
	return []string{h.port()}
}

// PowerCut ends everything on the host at once and returns when it is gone. Its
// disks stay as they are. A host that is off stays off.
func (h *Host) PowerCut() error {
	if err := killInit(h.Dir); err != nil {
		return fmt.Errorf("power cut of host %s: %w", h.Name, err)
	}
	h.unplug()
	return nil
}

// unplug removes the cables of a host that has no power. The kernel does it too, but only
// when nobody looks into the host's network any more: until then its addresses answer.
func (h *Host) unplug() {
	if h.Switch == nil || !h.Switch.Up() {
		return
	}
	ctx, cancel := initContext()
	defer cancel()
	for _, port := range h.ports() {
		_ = h.Switch.ip(ctx, "link", "del", port) // gone already is the usual case
	}
}

// On reports whether the host has power.
func (h *Host) On() bool { return loadIdentity(h.Dir).Alive() }

// Addr is the host's address on the switch.
func (h *Host) Addr() string { return h.Switch.Addr(h.Index).String() }

// CutLink pulls the host's cables.
func (h *Host) CutLink(ctx context.Context) error { return h.setLinks(ctx, "down") }

// HealLink plugs them in again.
func (h *Host) HealLink(ctx context.Context) error { return h.setLinks(ctx, "up") }

func (h *Host) setLinks(ctx context.Context, to string) error {
	for _, port := range h.ports() {
		if err := h.Switch.ip(ctx, "link", "set", port, to); err != nil {
			return err
		}
	}
	return nil
}

// Enable has a unit, as name@1 of the template name@, started at every boot. It is for
// a host that has no power; on others see DESIGN.md, "Units".
func (h *Host) Enable(unit string) error {
	if err := os.MkdirAll(h.enabledPath(), 0o755); err != nil {
		return fmt.Errorf("enable %s on host %s: %w", unit, h.Name, err)
	}
	if err := mark(h.enabledPath(), unit); err != nil {
		return fmt.Errorf("enable %s on host %s: %w", unit, h.Name, err)
	}
	return nil
}

// Command prepares a program that runs on the host, as root in /. Nothing inside
// dies with ctx: only the program's connection to the caller does.
func (h *Host) Command(ctx context.Context, argv ...string) (*exec.Cmd, error) {
	id := loadIdentity(h.Dir)
	if !id.Alive() {
		return nil, fmt.Errorf("host %s is off", h.Name)
	}
	args := append([]string{"-t", strconv.Itoa(id.PID), "-m", "-u", "-i", "-n", "-p", "--wd=/", "--"}, argv...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Env = []string{"PATH=" + searchPath, "HOME=/root", "LANG=C.UTF-8", "TERM=" + os.Getenv("TERM")}
	return cmd, nil
}

// Exec runs a program on the host to its end and returns what it prints. The
// error holds the program's last words.
func (h *Host) Exec(ctx context.Context, argv ...string) (string, error) {
	cmd, err := h.Command(ctx, argv...)
	if err != nil {
		return "", err
	}
	out, err := output(cmd, "")
	if err != nil {
		return out, fmt.Errorf("on host %s: %w", h.Name, err)
	}
	return out, nil
}

// Path is where the machine finds a file of one of the host's private folders,
// as /run/libvirt/libvirt-sock. Other paths are the same on both sides.
func (h *Host) Path(inside string) string {
	for _, dir := range privateDirs {
		if rest, ok := strings.CutPrefix(inside, dir); ok && (rest == "" || rest[0] == '/') {
			return filepath.Join(h.private(dir), rest)
		}
	}
	if rest, ok := strings.CutPrefix(inside, "/etc/"); ok {
		return filepath.Join(h.etcUpper(), rest)
	}
	return inside
}

// private is the folder behind a private mount point: /var/log is <Dir>/root/var-log.
func (h *Host) private(point string) string {
	return filepath.Join(h.Dir, "root", strings.ReplaceAll(strings.Trim(point, "/"), "/", "-"))
}

func (h *Host) etcUpper() string    { return filepath.Join(h.Dir, "etc", "upper") }
func (h *Host) controlPath() string { return filepath.Join(h.Dir, "control") }
func (h *Host) enabledPath() string { return filepath.Join(h.Dir, "enabled") }

// layout puts the host's private files in place for the next boot.
func (h *Host) layout() (*mounts, error) {
	if err := os.RemoveAll(h.private("/run")); err != nil {
		return nil, err
	}
	disks, err := h.diskFiles()
	if err != nil {
		return nil, err
	}
	m := &mounts{Etc: filepath.Join(h.Dir, "etc"), Binds: map[string]string{}, Disks: disks}
	dirs := []string{h.etcUpper(), filepath.Join(m.Etc, "work"), h.private("/run") + "/lock", h.Path(standIns), h.enabledPath()}
	for _, point := range privateDirs {
		m.Binds[point] = h.private(point)
		dirs = append(dirs, h.private(point))
	}
	for _, dir := range h.Dirs {
		dirs = append(dirs, h.Path(dir))
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Remove(h.controlPath()); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	// ceph-volume tells udev what it has done. A host has no udev, and the machine need
	// not have its program.
	if err := os.Symlink("/bin/true", filepath.Join(h.Path(standIns), "udevadm")); err != nil {
		return nil, err
	}
	for _, f := range h.Etc {
		if err := h.writeEtc(f); err != nil {
			return nil, err
		}
	}
	return m, os.WriteFile(h.Path(BootIDFile), []byte(RandomUUID()+"\n"), 0o644)
}

// writeEtc writes a file where the host will see it below /etc.
func (h *Host) writeEtc(f File) error {
	path := h.Path("/etc/" + f.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	mode := f.Mode
	if mode == 0 {
		mode = 0o644
	}
	if err := os.WriteFile(path, []byte(f.Content), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode) // of a file that was there with another one
}

// RandomUUID is a version 4 UUID (RFC 9562).
func RandomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
