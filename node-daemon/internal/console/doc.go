// Package console keeps the serial output of this host's guests in ZooKeeper.
//
// QEMU appends what a guest prints to a file on its host. A [Manager] looks at the
// files of the guests it follows once per interval, cleans what is new and writes the
// last lines to /domains/<uuid>/consolelog, where every client reads them, and the
// position up to which it has read to /domains/<uuid>/consolepos. Both are written in
// one transaction that checks the versions of both, so whatever is killed, and
// whenever, the next one to follow the guest, here or on another host, goes on exactly
// where the text ends.
//
// The text depends on the bytes of the guest alone, not on the moments at which they
// were read: a character that is not complete yet waits in the position, and the rest
// of a line is appended to what is there of it. The one exception is a burst of more
// than the text can hold between two looks; a line in the text says how much was left
// out.
//
// A file that has grown large is cut at its beginning, without copying and while QEMU
// writes to it; nothing that a guest prints meanwhile is lost.
package console
