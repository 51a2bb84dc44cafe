package domxml

import (
	"fmt"
	"path"
	"strings"
)

// Class says how bound a guest's written data is to its host; a larger one is worse.
type Class uint8

// The storage classes, from the mildest.
const (
	// RBD: every writable thing is an RBD image, or there is none.
	RBD Class = iota
	// SharedFile: at least one file below a directory that all hosts share.
	SharedFile
	// Local: something exists on this host only, or nobody knows where it exists.
	Local
)

// String names the class as it is written in logs and answers.
func (c Class) String() string {
	switch c {
	case RBD:
		return "rbd"
	case SharedFile:
		return "shared-file"
	case Local:
		return "local"
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Image is something that a guest writes to and that another guest could name too.
type Image struct {
	Kind      string // as Disk.Type: "rbd", "file", "block", …
	Name      string // RBD "pool/volume" or clean path
	Shareable bool   // the document says that several guests may write to it
}

// Writable reports whether the guest may write to a medium in this drive.
func (d Disk) Writable() bool {
	return !d.ReadOnly && d.Snapshot == ""
}

// StorageClass returns the worst class of everything the guest writes to. Files and
// directories below one of sharedDirs are shared; what is neither RBD nor such a file
// is local, also what is not understood.
func StorageClass(s *Spec, sharedDirs []string) Class {
	worst := RBD
	if len(s.HostDevices) > 0 || s.Filesystems {
		worst = Local
	}
	for _, d := range s.Disks {
		if d.Writable() && !d.noMedium() {
			worst = max(worst, classOf(d.Type, d.Name, sharedDirs))
		}
	}
	for _, f := range []*StateFile{s.NVRAM, s.TPM} {
		if f != nil {
			worst = max(worst, classOf(f.Type, f.Name, sharedDirs))
		}
	}
	for _, p := range s.PMem {
		worst = max(worst, classOf("file", p, sharedDirs))
	}
	return worst
}

// noMedium reports an empty drive. Kinds whose source we cannot name have a medium.
func (d Disk) noMedium() bool {
	return d.Name == "" && (d.Type == "file" || d.Type == "block")
}

func classOf(kind, name string, sharedDirs []string) Class {
	switch kind {
	case "rbd":
		return RBD
	case "file", "dir":
		if within(name, sharedDirs) {
			return SharedFile
		}
	}
	return Local
}

// within reports whether an absolute path lies in or below one of the directories. It
// judges the text: symbolic links are the business of who may write there.
func within(p string, dirs []string) bool {
	if !path.IsAbs(p) {
		return false
	}
	p = path.Clean(p)
	for _, dir := range dirs {
		if !path.IsAbs(dir) {
			continue
		}
		dir = path.Clean(dir)
		if p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/") {
			return true
		}
	}
	return false
}

// WritableImages lists what the guest opens for writing and can be named, in the order
// of the document: disks, then UEFI variables, TPM state and persistent memory. An
// image that the document names twice is listed twice.
func WritableImages(s *Spec) []Image {
	var images []Image
	for _, d := range s.Disks {
		if d.Writable() && d.Name != "" {
			images = append(images, Image{Kind: d.Type, Name: d.Name, Shareable: d.Shareable})
		}
	}
	for _, f := range []*StateFile{s.NVRAM, s.TPM} {
		if f != nil && f.Name != "" {
			images = append(images, Image{Kind: f.Type, Name: f.Name})
		}
	}
	for _, p := range s.PMem {
		if p != "" {
			images = append(images, Image{Kind: "file", Name: cleanPath(p)})
		}
	}
	return images
}

// RBDList returns the RBD images of all drives, read-only ones too, each once, in the
// order of the document: the value of the key rbdlist.
func RBDList(s *Spec) []string {
	var names []string
	seen := map[string]bool{}
	for _, d := range s.Disks {
		if d.Type == "rbd" && d.Name != "" && !seen[d.Name] {
			seen[d.Name] = true
			names = append(names, d.Name)
		}
	}
	return names
}

// LiveBlockers returns why the guest cannot be migrated live, as far as its document
// tells; nil if nothing speaks against it. UEFI variables and the state of an emulated
// TPM travel with the guest and do not count here.
func (s *Spec) LiveBlockers(sharedDirs []string) []string {
	var why []string
	for _, dev := range s.HostDevices {
		why = append(why, "host device ("+dev+")")
	}
	for _, d := range s.Disks {
		if d.Writable() && !d.noMedium() && classOf(d.Type, d.Name, sharedDirs) == Local {
			why = append(why, fmt.Sprintf("disk %s (%s %q) is not shared between hosts", orElse(d.Dev, "?"), d.Type, d.Name))
		}
	}
	for _, p := range s.PMem {
		if classOf("file", p, sharedDirs) == Local {
			why = append(why, fmt.Sprintf("persistent memory %q is not shared between hosts", p))
		}
	}
	if s.Filesystems {
		why = append(why, "a host directory is shared with the guest (filesystem)")
	}
	if s.SharedMemory {
		why = append(why, "shared memory with the host (shmem)")
	}
	if s.LaunchSecurity != "" {
		why = append(why, "encrypted memory (launchSecurity "+s.LaunchSecurity+")")
	}
	if s.RequiresInvTSC {
		why = append(why, "CPU feature invtsc binds the guest to its host")
	}
	return why
}
