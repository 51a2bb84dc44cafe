package domxml

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

const maxVCPUs = 65535 // virDomainDefSetVcpusMax takes no more

// Parse reads a domain document. It takes documents that lack almost everything, also
// name and UUID, but refuses, as errs.Invalid with the line, what is not one
// well-formed UTF-8 <domain> of at most MaxSize bytes, what could be read in two ways,
// and values that cannot be understood.
func Parse(doc string) (*Spec, error) {
	root, err := read(doc)
	if err != nil {
		return nil, err
	}
	s := &Spec{
		Name:        root.child("name").raw(),
		Title:       root.child("title").text(),
		Description: root.child("description").text(),
		GenID:       root.child("genid").text(),
		DomainType:  root.attr("type"),
	}
	if s.UUID, err = parseUUID(root); err != nil {
		return nil, err
	}
	if s.MemoryMiB, err = parseMemory(root); err != nil {
		return nil, err
	}
	if s.VCPUs, err = parseVCPUs(root); err != nil {
		return nil, err
	}
	s.readOS(root)
	s.readCPU(root.child("cpu"))
	s.readDevices(root.child("devices"))
	return s, nil
}

func parseUUID(root *node) (string, error) {
	n := root.child("uuid")
	if n.text() == "" {
		return "", nil
	}
	id, ok := model.ParseUUID(n.text())
	if !ok {
		return "", errs.Invalidf("domain XML: line %d: UUID %q is malformed", n.line, model.Clip(n.text()))
	}
	return id, nil
}

// parseMemory reads <memory>, or the NUMA cells if only they have sizes. As in libvirt
// bytes count as whole KiB.
func parseMemory(root *node) (int, error) {
	if n := root.child("memory"); n != nil {
		b, err := memoryBytes(n.text(), n.attr("unit"))
		if err != nil {
			return 0, fmt.Errorf("domain XML: line %d: %w", n.line, err)
		}
		return toMiB(b), nil
	}
	var total uint64
	for _, cell := range root.child("cpu", "numa").all("cell") {
		if cell.attr("memory") == "" {
			continue
		}
		b, err := memoryBytes(cell.attr("memory"), cell.attr("unit"))
		if err != nil {
			return 0, fmt.Errorf("domain XML: line %d: %w", cell.line, err)
		}
		if total += b; total > math.MaxInt64 {
			return 0, errs.Invalidf("domain XML: line %d: memory of all cells is too large", cell.line)
		}
	}
	return toMiB(total), nil
}

func parseVCPUs(root *node) (int, error) {
	n := root.child("vcpu")
	if n == nil || n.text() == "" {
		return 1, nil
	}
	v, err := strconv.ParseUint(n.text(), 10, 32)
	if err != nil || v == 0 || v > maxVCPUs {
		return 0, errs.Invalidf("domain XML: line %d: vcpu %q: a number from 1 to %d is needed", n.line, model.Clip(n.text()), maxVCPUs)
	}
	return int(v), nil
}

func (s *Spec) readOS(root *node) {
	os := root.child("os")
	typ := os.child("type")
	s.OSType, s.Arch, s.Machine = typ.text(), typ.attr("arch"), typ.attr("machine")
	s.Kernel, s.Initrd, s.DTB = os.child("kernel").text(), os.child("initrd").text(), os.child("dtb").text()
	s.Loader = os.child("loader").text()
	s.NVRAM = parseNVRAM(os)
	if sec := root.child("launchSecurity"); sec != nil {
		s.LaunchSecurity = sec.attr("type")
	}
	if features := root.child("features"); features != nil {
		for _, f := range features.children {
			s.Features = append(s.Features, f.name)
		}
	}
}

// parseNVRAM finds where the UEFI variables live. Firmware in flash keeps them in a
// file that libvirt makes if the document names none.
func parseNVRAM(os *node) *StateFile {
	loader, nvram := os.child("loader"), os.child("nvram")
	if nvram != nil {
		if source := nvram.child("source"); source != nil {
			typ, name := parseSource(nvram.attr("type"), source)
			return &StateFile{Type: typ, Name: name}
		}
		return &StateFile{Type: "file", Name: nvram.text()}
	}
	if loader.attr("stateless") == "yes" {
		return nil
	}
	pflash := loader.attr("type") == "pflash"
	switch {
	case pflash && loader.attr("readonly") == "no":
		return &StateFile{Type: "file", Name: loader.text()} // code and variables in one file
	case pflash || os.attr("firmware") == "efi":
		return &StateFile{Type: "file"}
	}
	return nil
}

func (s *Spec) readCPU(cpu *node) {
	s.CPUMode, s.CPUModel = cpu.attr("mode"), cpu.child("model").text()
	if s.CPUMode == "" && s.CPUModel != "" {
		s.CPUMode = "custom" // libvirt's meaning of a model without a mode
	}
	if t := cpu.child("topology"); t != nil {
		s.Topology = t.attr("sockets") + "/" + t.attr("cores") + "/" + t.attr("threads")
	}
	for _, f := range cpu.all("feature") {
		policy := f.attr("policy")
		if f.attr("name") == "invtsc" && (policy == "" || policy == "require" || policy == "force") {
			s.RequiresInvTSC = true
		}
	}
}

func (s *Spec) readDevices(devices *node) {
	if devices == nil {
		return
	}
	s.Emulator = devices.child("emulator").text()
	s.Console = consoleType(devices)
	for _, d := range devices.children {
		if d.space == "" {
			s.readDevice(d)
		}
	}
}

func (s *Spec) readDevice(d *node) {
	switch d.name {
	case "disk":
		s.Disks = append(s.Disks, parseDisk(d))
	case "interface":
		s.readInterface(d)
	case "controller":
		s.Controllers = append(s.Controllers, Controller{Type: d.attr("type"), Model: d.attr("model")})
	case "graphics":
		if d.attr("type") == "vnc" && s.VNC == (VNC{}) {
			s.VNC = parseVNC(d)
		}
	case "hostdev":
		s.HostDevices = append(s.HostDevices, strings.TrimSpace("hostdev "+d.attr("type")))
	case "filesystem":
		s.Filesystems = true
	case "shmem":
		s.SharedMemory = true
	case "memory":
		if p := d.child("source", "path"); p != nil {
			s.PMem = append(s.PMem, p.text())
		}
	case "pstore":
		s.PMem = append(s.PMem, d.child("path").text())
	case "tpm":
		s.readTPM(d)
	}
}

func (s *Spec) readTPM(d *node) {
	backend := d.child("backend")
	switch typ := backend.attr("type"); typ {
	case "passthrough", "external":
		s.HostDevices = append(s.HostDevices, "tpm "+typ)
	default:
		source := backend.child("source")
		s.TPM = &StateFile{Type: orElse(source.attr("type"), "file"), Name: source.attr("path")}
	}
}

func (s *Spec) readInterface(d *node) {
	nic := parseNIC(d)
	s.Networks = append(s.Networks, nic)
	if nic.Type == "hostdev" || nic.Type == "vdpa" {
		s.HostDevices = append(s.HostDevices, "interface "+nic.Type)
	}
}

func consoleType(devices *node) string {
	for _, name := range []string{"console", "serial"} {
		if n := devices.child(name); n != nil {
			return orElse(n.attr("type"), "pty")
		}
	}
	return ""
}

func parseVNC(d *node) VNC {
	v := VNC{Listen: d.attr("listen"), Port: d.attr("port")}
	if v.Listen == "" {
		v.Listen = d.child("listen").attr("address")
	}
	if d.attr("autoport") == "yes" || v.Port == "" || v.Port == "-1" {
		v.Port = "auto"
	}
	return v
}

func parseDisk(d *node) Disk {
	source, target, driver := d.child("source"), d.child("target"), d.child("driver")
	disk := Disk{
		Device:    orElse(d.attr("device"), "disk"),
		Dev:       target.attr("dev"),
		Bus:       target.attr("bus"),
		Format:    driver.attr("type"),
		Cache:     driver.attr("cache"),
		Shareable: d.child("shareable") != nil,
		Snapshot:  source.child("snapshot").attr("name"),
	}
	disk.Type, disk.Name = parseSource(d.attr("type"), source)
	// libvirt opens every CD-ROM medium for reading only.
	disk.ReadOnly = d.child("readonly") != nil || disk.Device == "cdrom"
	for _, h := range source.all("host") {
		disk.Hosts = append(disk.Hosts, strings.TrimSuffix(h.attr("name")+":"+h.attr("port"), ":"))
	}
	return disk
}

// parseSource returns kind and name of what a <source> names; typ is the type
// attribute of the element around it.
func parseSource(typ string, source *node) (kind, name string) {
	kind = orElse(typ, "file")
	switch kind {
	case "network":
		return orElse(source.attr("protocol"), "network"), source.attr("name")
	case "file":
		return kind, cleanPath(source.attr("file"))
	case "block":
		return kind, cleanPath(source.attr("dev"))
	case "dir":
		return kind, cleanPath(source.attr("dir"))
	case "volume":
		return kind, strings.TrimPrefix(source.attr("pool")+"/"+source.attr("volume"), "/")
	case "vhostuser":
		return kind, cleanPath(source.attr("path"))
	case "vhostvdpa":
		return kind, cleanPath(source.attr("dev"))
	default:
		return kind, ""
	}
}

// cleanPath gives two spellings of one path the same text, because images are
// compared by it.
func cleanPath(p string) string {
	if p == "" {
		return ""
	}
	return path.Clean(p)
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
