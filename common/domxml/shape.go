package domxml

import (
	"encoding/xml"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// single lists, per parent, the elements that may stand there only once. libvirt's
// versions differ in whether the first or the last one of several counts, so a
// document that has two of them could mean something else than what was checked.
var single = map[string][]string{
	"domain":       {"name", "uuid", "memory", "vcpu", "os", "cpu", "devices", "description", "metadata"},
	"os":           {"type", "kernel", "initrd", "dtb", "loader", "nvram"},
	"devices":      {"emulator"},
	"disk":         {"source", "target", "driver"},
	"interface":    {"source", "mac", "model"},
	"backingStore": {"source"},
	"nvram":        {"source"},
	"tpm":          {"backend"},
	"cpu":          {"topology", "model"},
}

// leaves are elements whose text libvirt takes together with that of the elements in
// them, so there may be none.
var leaves = map[string]bool{
	"name": true, "uuid": true, "title": true, "description": true, "genid": true, "vcpu": true,
	"type": true, "kernel": true, "initrd": true, "dtb": true, "shim": true, "loader": true, "cmdline": true,
	"root": true, "init": true, "initdir": true, "table": true, "emulator": true, "database": true,
	"path": true, "partition": true, "bootloader": true, "entry": true,
}

// checkShape refuses documents whose reading is ambiguous.
func checkShape(root *node) error {
	if err := checkElement(root); err != nil {
		return err
	}
	for _, n := range root.children {
		// <metadata> is free. The hypervisor's own extensions (<qemu:commandline>)
		// are for the policy to judge.
		if n.space != "" || n.name == "metadata" {
			continue
		}
		if err := checkSubtree(n); err != nil {
			return err
		}
	}
	return nil
}

func checkSubtree(n *node) error {
	if n.space != "" {
		return errs.Invalidf("domain XML: line %d: <%s> of namespace %q: only <metadata> and <domain> itself may have elements of other namespaces", n.line, model.Clip(n.name), model.Clip(n.space))
	}
	if err := checkElement(n); err != nil {
		return err
	}
	for _, c := range n.children {
		if err := checkSubtree(c); err != nil {
			return err
		}
	}
	return nil
}

// checkElement judges one element without what is below its children.
func checkElement(n *node) error {
	if len(n.children) > 0 {
		if text := strings.TrimSpace(n.content); text != "" {
			return errs.Invalidf("domain XML: line %d: <%s> has text (%q) beside elements", n.line, model.Clip(n.name), model.Clip(text))
		}
		if leaves[n.name] {
			return errs.Invalidf("domain XML: line %d: <%s> may not contain elements", n.line, n.name)
		}
	}
	if err := checkSingle(n); err != nil {
		return err
	}
	return checkPlainAttributes(n)
}

// checkPlainAttributes refuses attributes with a namespace: libvirt's lookup
// (xmlGetProp) takes them for the plain ones of the same name.
func checkPlainAttributes(n *node) error {
	for _, a := range n.attrs {
		if a.Name.Space != "" && !isNamespaceDeclaration(a.Name) {
			return errs.Invalidf("domain XML: line %d: attribute %q of <%s> has the namespace %q", n.line, model.Clip(a.Name.Local), model.Clip(n.name), model.Clip(a.Name.Space))
		}
	}
	return nil
}

func isNamespaceDeclaration(name xml.Name) bool {
	return name.Space == "xmlns" || name.Space == "" && name.Local == "xmlns"
}

func checkSingle(n *node) error {
	for _, name := range single[n.name] {
		if found := n.all(name); len(found) > 1 {
			return errs.Invalidf("domain XML: line %d: <%s> has a second <%s>", found[1].line, n.name, name)
		}
	}
	return nil
}
