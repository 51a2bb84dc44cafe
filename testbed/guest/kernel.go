package guest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernelFiles is an unpacked kernel package.
type kernelFiles struct {
	root    string
	modules map[string]string // name with underscores → file
}

// kernelTree unpacks Debian's cloud kernel, downloading the package if the cache
// does not hold it. Nothing is installed.
func kernelTree(ctx context.Context, cache, work string, progress func(string)) (*kernelFiles, error) {
	deb, err := kernelDeb(ctx, cache, progress)
	if err != nil {
		return nil, err
	}
	progress("unpacking " + filepath.Base(deb))
	root := filepath.Join(work, "kernel")
	if err := run(ctx, work, nil, "dpkg-deb", "-x", deb, root); err != nil {
		return nil, err
	}
	t := &kernelFiles{root: root, modules: map[string]string{}}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok && err == nil && !d.IsDir() {
			t.modules[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	return t, err
}

// kernelDeb is the path of the kernel package.
func kernelDeb(ctx context.Context, cache string, progress func(string)) (string, error) {
	find := func() string {
		debs, _ := filepath.Glob(filepath.Join(cache, "linux-image-[0-9]*-cloud-amd64_*.deb")) // the pattern is well-formed
		if len(debs) == 0 {
			return ""
		}
		return debs[len(debs)-1]
	}
	if deb := find(); deb != "" {
		return deb, nil
	}
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", kernelPackage).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache depends %s: %w", kernelPackage, err)
	}
	name := dependency(string(out))
	if name == "" {
		return "", fmt.Errorf("the package lists do not know %s: run apt-get update", kernelPackage)
	}
	progress("downloading " + name)
	if err := run(ctx, cache, nil, "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name); err != nil {
		return "", err
	}
	if deb := find(); deb != "" {
		return deb, nil
	}
	return "", fmt.Errorf("apt-get download %s left no file", name)
}

// dependency finds the first package that `apt-cache depends` names.
func dependency(out string) string {
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok {
			return name
		}
	}
	return ""
}

// kernel is the kernel as an ELF file if it can be had: QEMU boots it half a
// second faster than one that has to unpack itself.
func (t *kernelFiles) kernel() ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(t.root, "boot", "vmlinuz-*"))
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("the kernel package holds %d kernels", len(files))
	}
	packed, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	if at := bytes.Index(packed, lz4Magic); at >= 0 {
		if elf, err := unpackLZ4(packed[at:]); err == nil && bytes.HasPrefix(elf, []byte("\x7fELF")) {
			return elf, nil
		}
	}
	return packed, nil
}

// addModules puts modules into the archive, each after those that it needs: file
// names sort in the order of loading.
func (t *kernelFiles) addModules(ctx context.Context, a *archive, names []string) error {
	added := map[string]bool{}
	number := 0
	var add func(name string) error
	add = func(name string) error {
		file, ok := t.modules[name]
		if !ok || added[name] {
			return nil // built into the kernel, or done
		}
		added[name] = true
		b, err := readModule(ctx, file)
		if err != nil {
			return err
		}
		for _, d := range moduleDepends(b) {
			if err := add(d); err != nil {
				return err
			}
		}
		number++
		a.file(fmt.Sprintf("modules/%02d-%s.ko", number, name), 0o644, b)
		return nil
	}
	for _, m := range names {
		if err := add(m); err != nil {
			return err
		}
	}
	return nil
}

func readModule(ctx context.Context, file string) ([]byte, error) {
	if !strings.HasSuffix(file, ".xz") {
		return os.ReadFile(file)
	}
	b, err := exec.CommandContext(ctx, "xz", "-dc", file).Output()
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", file, err)
	}
	return b, nil
}

// moduleDepends reads a module's .modinfo section: words "key=value" that end
// with a zero byte. The package holds no modules.dep.
func moduleDepends(module []byte) []string {
	_, rest, ok := bytes.Cut(module, []byte("\x00depends="))
	if !ok {
		return nil
	}
	list, _, _ := bytes.Cut(rest, []byte{0})
	return strings.FieldsFunc(strings.ReplaceAll(string(list), "-", "_"), func(r rune) bool { return r == ',' })
}
