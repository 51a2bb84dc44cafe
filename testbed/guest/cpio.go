package guest

import (
	"bytes"
	"fmt"
)

// archive is a cpio archive in the "newc" form that the Linux kernel unpacks as
// its first root folder (Documentation/driver-api/early-userspace/buffer-format).
type archive struct {
	buf   bytes.Buffer
	inode int
}

// File types of the mode field.
const (
	typeDir    = 0o040000
	typeFile   = 0o100000
	typeLink   = 0o120000
	typeDevice = 0o020000
)

func (a *archive) dir(name string) { a.add(name, typeDir|0o755, 0, 0, nil) }
func (a *archive) file(name string, mode int, content []byte) {
	a.add(name, typeFile|mode, 0, 0, content)
}
func (a *archive) symlink(name, target string) { a.add(name, typeLink|0o777, 0, 0, []byte(target)) }
func (a *archive) device(name string, mode, major, minor int) {
	a.add(name, typeDevice|mode, major, minor, nil)
}

// add appends one entry. All belong to root and to the epoch, so that the same
// content makes the same bytes.
func (a *archive) add(name string, mode, major, minor int, content []byte) {
	a.inode++
	fmt.Fprintf(&a.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	a.buf.WriteString(name)
	a.buf.WriteByte(0)
	a.pad()
	a.buf.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

// bytes ends the archive.
func (a *archive) bytes() []byte {
	a.add("TRAILER!!!", 0, 0, 0, nil)
	return a.buf.Bytes()
}
