package guest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Images are the absolute paths of what the guests boot from.
type Images struct {
	Tick   string // kernel of the tiny guest
	Kernel string // Linux
	Initrd string
}

//go:embed tick/tick.S seq/main.go init.sh dhcp.sh
var sources embed.FS

// modules are the kernel modules of the Linux guest; what they depend on comes along.
var modules = []string{"virtio_pci", "virtio_net", "virtio_blk", "evdev", "button"}

const (
	busybox       = "/bin/busybox"
	kernelPackage = "linux-image-cloud-amd64" // depends on the newest one
)

// Build makes the images below dir unless they are there already, and returns
// their paths. It needs as, ld, busybox-static, dpkg-deb, the go command and,
// the first time, apt-get with a Debian mirror (30 MB). Several processes may
// build into one folder. Progress is told in short sentences; it may be nil.
func Build(ctx context.Context, dir string, progress func(string)) (Images, error) {
	images, err := build(ctx, dir, progress)
	if err != nil {
		return Images{}, fmt.Errorf("build guests in %s: %w", dir, err)
	}
	return images, nil
}

// CopyTo puts the images into dir, as links if the file system allows it, and
// returns their paths there.
func (i Images) CopyTo(dir string) (Images, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return i, fmt.Errorf("copy guest images: %w", err)
	}
	for _, path := range []*string{&i.Tick, &i.Kernel, &i.Initrd} {
		to := filepath.Join(dir, filepath.Base(*path))
		if err := linkOrCopy(*path, to); err != nil {
			return i, fmt.Errorf("copy guest images: %w", err)
		}
		*path = to
	}
	return i, nil
}

func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

func build(ctx context.Context, dir string, progress func(string)) (Images, error) {
	if progress == nil {
		progress = func(string) {}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Images{}, err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return Images{}, err
	}
	defer unlock()
	stamp, err := sourceStamp()
	if err != nil {
		return Images{}, err
	}
	final := filepath.Join(dir, "images-"+stamp)
	images := Images{Tick: filepath.Join(final, "tick.bin"), Kernel: filepath.Join(final, "vmlinux"), Initrd: filepath.Join(final, "initrd.gz")}
	if _, err := os.Stat(final); err == nil {
		return images, nil
	}
	work, err := os.MkdirTemp(dir, "work-")
	if err != nil {
		return Images{}, err
	}
	defer os.RemoveAll(work)
	out := filepath.Join(work, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return Images{}, err
	}
	if err := buildTick(ctx, work, out); err != nil {
		return Images{}, err
	}
	if err := buildLinux(ctx, dir, work, out, progress); err != nil {
		return Images{}, err
	}
	return images, os.Rename(out, final) // all or nothing
}

// lock holds a file lock until the function it returns is called.
func lock(name string) (func(), error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// sourceStamp changes with everything of ours that goes into the images.
func sourceStamp() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "modules, each numbered after what it needs", modules)
	err := fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := sources.ReadFile(path)
		fmt.Fprintln(h, path, len(b))
		h.Write(b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:12], err
}

func buildTick(ctx context.Context, work, out string) error {
	source, object := filepath.Join(work, "tick.S"), filepath.Join(work, "tick.o")
	if err := unpack("tick/tick.S", source); err != nil {
		return err
	}
	if err := run(ctx, work, nil, "as", "--32", "-o", object, source); err != nil {
		return err
	}
	return run(ctx, work, nil, "ld", "-m", "elf_i386", "-Ttext", "0", "--oformat", "binary", "-o", filepath.Join(out, "tick.bin"), object)
}

func buildLinux(ctx context.Context, cache, work, out string, progress func(string)) error {
	tree, err := kernelTree(ctx, cache, work, progress)
	if err != nil {
		return err
	}
	kernel, err := tree.kernel()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "vmlinux"), kernel, 0o644); err != nil {
		return err
	}
	var a archive
	if err := fillInitrd(ctx, &a, tree, work); err != nil {
		return err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(a.bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "initrd.gz"), packed.Bytes(), 0o644)
}

// fillInitrd collects what the Linux guest finds in its root folder.
func fillInitrd(ctx context.Context, a *archive, tree *kernelFiles, work string) error {
	for _, d := range []string{"bin", "dev", "etc", "modules", "proc", "sys", "tmp"} {
		a.dir(d)
	}
	a.device("dev/console", 0o600, 5, 1)
	a.device("dev/null", 0o666, 1, 3)
	shell, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("%w (Debian package busybox-static)", err)
	}
	a.file("bin/busybox", 0o755, shell)
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", busybox, err)
	}
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" && name != "seq" { // ours takes the name of the latter
			a.symlink("bin/"+name, "busybox")
		}
	}
	for _, f := range []struct{ source, name string }{{"init.sh", "init"}, {"dhcp.sh", "dhcp.sh"}} {
		b, err := sources.ReadFile(f.source)
		if err != nil {
			return err
		}
		a.file(f.name, 0o755, b)
	}
	seq, err := buildSeq(ctx, work)
	if err != nil {
		return err
	}
	a.file("bin/seq", 0o755, seq)
	return tree.addModules(ctx, a, modules)
}

// buildSeq compiles the writer of the sequence; static, without cgo.
func buildSeq(ctx context.Context, work string) ([]byte, error) {
	source, binary := filepath.Join(work, "seq.go"), filepath.Join(work, "seq")
	if err := unpack("seq/main.go", source); err != nil {
		return nil, err
	}
	env := append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=", "GOWORK=off")
	if err := run(ctx, work, env, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, source); err != nil {
		return nil, err
	}
	return os.ReadFile(binary)
}

func unpack(name, file string) error {
	b, err := sources.ReadFile(name)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// run executes a build tool in dir; the error holds what it printed.
func run(ctx context.Context, dir string, env []string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, env, time.Second
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(b))
	}
	return nil
}
