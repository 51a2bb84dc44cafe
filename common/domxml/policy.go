package domxml

import (
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Policy says what a user's document may ask of the host. It guards the host's files,
// devices, loopback services and privileges, and by that the host itself: whoever may
// define any domain XML is root there. It judges the document, not what its images
// contain (a qcow2 header can name a backing file), and not symbolic links.
type Policy struct {
	// Unrestricted allows everything that is well-formed.
	Unrestricted bool
	// FileDirectories are the absolute directories below which a document may name
	// files; empty allows none.
	FileDirectories []string
	// Emulators are the allowed paths of <emulator>; empty means DefaultEmulators.
	Emulators []string
}

// DefaultEmulators returns where distributions put QEMU.
func DefaultEmulators() []string {
	return []string{"/usr/bin/qemu-system-x86_64", "/usr/bin/kvm", "/usr/bin/qemu-kvm"}
}

// Check returns nil if the document may be defined. Otherwise the error is
// errs.Invalid if it is not a readable document, errs.Denied if the policy refuses it,
// and names the line and the value.
//
// A host path is refused by default: every attribute and text with a slash in it, and
// every place that is known to take a path, must lie in FileDirectories, apart from the
// short lists in rules.go. The <log> of the console device may say anything, because
// WithConsoleLog replaces it before a guest is started.
func (p Policy) Check(doc string) error {
	root, err := read(doc)
	if err != nil || p.Unrestricted {
		return err
	}
	if len(p.Emulators) == 0 {
		p.Emulators = DefaultEmulators()
	}
	c := &checker{policy: p, name: root.child("name").raw(), console: consoleDevice(root)}
	return c.element(root, "domain")
}

// checker walks one document.
type checker struct {
	policy  Policy
	name    string // of the VM
	console *node  // the device whose <log> is ours
}

// element judges an element and everything below it; where is its path of names.
func (c *checker) element(n *node, where string) error {
	if n.space != "" {
		return denied(n, "<%s> of namespace %q is not allowed", model.Clip(n.name), model.Clip(n.space))
	}
	if where == "domain/metadata" {
		return nil
	}
	if err := c.rules(n, where); err != nil {
		return err
	}
	if err := c.text(n, where); err != nil {
		return err
	}
	for _, a := range n.attrs {
		if isNamespaceDeclaration(a.Name) {
			continue
		}
		if err := c.attribute(n, where, a.Name.Local, a.Value); err != nil {
			return err
		}
	}
	for _, child := range n.children {
		if err := c.element(child, where+"/"+child.name); err != nil {
			return err
		}
	}
	return nil
}

// rules applies what is not about paths.
func (c *checker) rules(n *node, where string) error {
	if why, ok := refusedElements[n.name]; ok {
		return denied(n, "<%s> is not allowed: %s", n.name, why)
	}
	for _, choice := range choicesFor(n, where) {
		if v := n.attr(choice.attribute); !slices.Contains(choice.allowed, v) {
			return denied(n, "<%s> with %s=%q is not allowed: %s", n.name, choice.attribute, model.Clip(v), choice.why)
		}
	}
	switch n.name {
	case "seclabel":
		return checkSecurityLabel(n, where)
	case "source":
		return checkProtocol(n)
	case "loader":
		return checkLoader(n)
	case "emulator":
		return c.emulator(n)
	case "backend":
		if len(n.children) > 0 && n.attr("model") == "random" {
			return denied(n, "<backend> may not contain elements")
		}
	case "nvram":
		for _, child := range n.children {
			if where == "domain/os/nvram" && child.name != "source" {
				return denied(child, "<%s> in <nvram> is not allowed", model.Clip(child.name))
			}
		}
	}
	return nil
}

func (c *checker) emulator(n *node) error {
	if !slices.Contains(c.policy.Emulators, n.content) {
		return denied(n, "emulator %q is not one of %s", model.Clip(n.content), strings.Join(c.policy.Emulators, ", "))
	}
	return nil
}

func (c *checker) attribute(n *node, where, name, value string) error {
	slot := where + "@" + name
	switch {
	case value == "" || freeText[slot]:
		return nil
	case name == "rawio" && value != "no":
		return denied(n, "rawio=%q is not allowed: it gives raw access to host devices", model.Clip(value))
	case n.name == "source" && name == "name" && n.attr("protocol") == "rbd":
		return nil // checkProtocol has judged it
	case n.name == "log" && name == "file" && c.console != nil && n.parent == c.console:
		return nil
	case !takesPath(n, where, name) && !strings.Contains(value, "/"):
		return nil
	}
	return c.path(n, slot, name+"=", value)
}

func (c *checker) text(n *node, where string) error {
	value := n.content
	switch {
	case strings.TrimSpace(value) == "" || n.name == "emulator" || freeText[where]:
		return nil
	case !pathElements[n.name] && !strings.Contains(value, "/"):
		return nil
	}
	return c.path(n, where, "", value)
}

// path judges a value that names, or could name, something of the host.
func (c *checker) path(n *node, slot, label, value string) error {
	if harmless, ok := harmlessPaths[slot]; ok && harmless(c, n, value) {
		return nil
	}
	if err := checkAbsolute(value); err != nil {
		return denied(n, "path %s%q in <%s>: %v", label, model.Clip(value), n.name, err)
	}
	if !within(value, c.policy.FileDirectories) {
		return denied(n, "path %s%q in <%s> is outside of the allowed directories (%s)", label, model.Clip(value), n.name, directories(c.policy.FileDirectories))
	}
	return nil
}

func directories(dirs []string) string {
	if len(dirs) == 0 {
		return "none is configured"
	}
	return strings.Join(dirs, ", ")
}

func denied(n *node, format string, args ...any) error {
	return errs.Deniedf("domain XML: line %d: "+format, append([]any{n.line}, args...)...)
}
