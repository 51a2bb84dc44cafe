package domxml

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// WithUUID returns the document with the given UUID, every other byte unchanged. A
// missing element is put behind <name>, an empty one is filled, an equal one is left
// alone. It is errs.Invalid if the document is, if uuid is malformed, or if the
// document has another UUID.
func WithUUID(doc, uuid string) (string, error) {
	id, ok := model.ParseUUID(uuid)
	if !ok {
		return "", errs.Invalidf("UUID %q is malformed", model.Clip(uuid))
	}
	root, err := read(doc)
	if err != nil {
		return "", err
	}
	element := "<uuid>" + id + "</uuid>"
	n := root.child("uuid")
	if n.text() != "" {
		if have, _ := model.ParseUUID(n.text()); have != id {
			return "", errs.Invalidf("domain XML: line %d: the document has the UUID %q, not %q", n.line, model.Clip(n.text()), id)
		}
		return doc, nil
	}
	if n != nil {
		return doc[:n.start] + element + doc[n.end:], nil
	}
	name := root.child("name")
	if name == nil {
		return "", errs.Invalidf("domain XML has no <name>")
	}
	return doc[:name.end] + indentBefore(doc, name.start) + element + doc[name.end:], nil
}

// indentBefore returns the line break and indentation in front of a position, empty
// if something else stands on that line.
func indentBefore(doc string, pos int) string {
	lead := doc[:pos]
	blank := len(lead) - len(strings.TrimRight(lead, " \t"))
	lead = lead[:pos-blank]
	switch {
	case strings.HasSuffix(lead, "\r\n"):
		return doc[pos-blank-2 : pos]
	case strings.HasSuffix(lead, "\n"):
		return doc[pos-blank-1 : pos]
	}
	return ""
}

// WithConsoleLog returns the document with its console device, the first <serial> or,
// without any, the first <console>, writing its output to the file (<log>, appending).
// An existing <log> of that device is replaced; every other byte is unchanged. A
// document without such a device is returned as it is. It is errs.Invalid if the
// document is, or if file is not a clean absolute path that XML can express.
func WithConsoleLog(doc, file string) (string, error) {
	if err := checkLogPath(file); err != nil {
		return "", err
	}
	root, err := read(doc)
	if err != nil {
		return "", err
	}
	device := consoleDevice(root)
	if device == nil {
		return doc, nil
	}
	element := "<log file='" + attributeEscaper.Replace(file) + "' append='on'/>"
	if device.empty() {
		tag := strings.TrimRight(strings.TrimSuffix(doc[device.start:device.end], "/>"), " \t\r\n")
		return doc[:device.start] + tag + ">" + element + "</" + device.name + ">" + doc[device.end:], nil
	}
	logs := device.all("log")
	if len(logs) == 0 {
		return doc[:device.inner] + element + doc[device.inner:], nil
	}
	var out strings.Builder
	out.WriteString(doc[:logs[0].start] + element)
	for i, log := range logs {
		next := len(doc)
		if i+1 < len(logs) {
			next = logs[i+1].start
		}
		out.WriteString(doc[log.end:next])
	}
	return out.String(), nil
}

// consoleDevice finds the device whose output is the VM's console log. With a serial
// port the first console is only another name for it (virDomainDefAddConsoleCompat).
func consoleDevice(root *node) *node {
	devices := root.child("devices")
	if serial := devices.child("serial"); serial != nil {
		return serial
	}
	return devices.child("console")
}

var attributeEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;")

func checkLogPath(file string) error {
	err := checkAbsolute(file)
	if err == nil && path.Clean(file) != file {
		err = fmt.Errorf("the clean form is %q", model.Clip(path.Clean(file)))
	}
	if err != nil {
		return errs.Invalidf("console log path %q: %w", model.Clip(file), err)
	}
	return nil
}

// checkAbsolute says what is wrong with a text as an absolute path.
func checkAbsolute(p string) error {
	switch {
	case !path.IsAbs(p):
		return fmt.Errorf("an absolute path is needed")
	case !utf8.ValidString(p) || strings.ContainsFunc(p, isControl):
		return fmt.Errorf("control characters are not allowed")
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return fmt.Errorf(`".." is not allowed`)
		}
	}
	return nil
}

// isControl reports characters that have no place in a path, among them those that
// XML cannot express.
func isControl(r rune) bool {
	return r < 0x20 || r == 0x7f || r == utf8.RuneError || r == 0xfffe || r == 0xffff
}
