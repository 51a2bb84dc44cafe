package guest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
)

// Extra is what the initramfs of a Linux guest holds beyond the usual.
type Extra struct {
	// Modules of the kernel, loaded after the usual ones. What they depend on comes
	// along; what is built into the kernel is left out, and so is an unknown name.
	Modules []string
	// Files by their names, without a leading slash, in folders that are there
	// (bin, etc, tmp). All are executable. One may replace a usual file.
	Files map[string][]byte
}

// Extend writes an initramfs with more in it to the file initrd and returns images
// that boot from it. They come from Build with the same dir, whose kernel package it
// unpacks: a second or two.
func Extend(ctx context.Context, dir string, images Images, extra Extra, initrd string) (Images, error) {
	if err := extend(ctx, dir, images, extra, initrd); err != nil {
		return Images{}, fmt.Errorf("extend guest %s: %w", images.Initrd, err)
	}
	images.Initrd = initrd
	return images, nil
}

// extend puts a second archive behind the first: the kernel unpacks both, the second
// over the first. It is not compressed, because emulated guests are slow to unpack.
func extend(ctx context.Context, dir string, images Images, extra Extra, initrd string) error {
	work, err := os.MkdirTemp(dir, "work-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	tree, err := kernelTree(ctx, dir, work, func(string) {})
	if err != nil {
		return err
	}
	all, err := os.ReadFile(images.Initrd)
	if err != nil {
		return err
	}
	for len(all)%4 != 0 { // an archive begins at a multiple of four
		all = append(all, 0)
	}
	var a archive
	// The usual ones are numbered anew with the same numbers and so replace themselves.
	if err := tree.addModules(ctx, &a, append(slices.Clone(modules), extra.Modules...)); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(extra.Files)) {
		a.file(name, 0o755, extra.Files[name])
	}
	return os.WriteFile(initrd, append(all, a.bytes()...), 0o644)
}
