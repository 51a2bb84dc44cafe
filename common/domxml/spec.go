package domxml

// Spec is what the API shows of a domain document and what the rules need. Text that
// the document does not have is empty; how absence is written is the renderer's job.
type Spec struct {
	Name        string // byte for byte as libvirt takes it, with white space around it
	UUID        string // lower case with dashes; empty if the document has none
	Title       string
	Description string
	GenID       string // VM generation id, empty if none

	MemoryMiB int    // rounded up; 0 if the document does not say
	VCPUs     int    // at most, 1 if the document does not say
	Topology  string // "sockets/cores/threads"; empty if not given
	CPUMode   string // "host-model", "host-passthrough", "custom"; empty: the hypervisor's default
	CPUModel  string
	// RequiresInvTSC: the guest was promised a constant time stamp counter, which
	// binds it to its host.
	RequiresInvTSC bool

	DomainType string // "kvm" or "qemu"
	OSType     string // "hvm"
	Arch       string
	Machine    string
	Emulator   string
	Console    string // type of the first console, else of the first serial port
	Features   []string

	Networks    []NIC
	Disks       []Disk
	Controllers []Controller
	VNC         VNC

	Kernel, Initrd, DTB, Loader string // paths for a direct boot and the firmware

	NVRAM *StateFile // UEFI variables, nil if the guest has none
	TPM   *StateFile // state of an emulated TPM, nil if the guest has none
	PMem  []string   // files behind persistent memory devices

	HostDevices    []string // what of the host the guest is given directly: "hostdev pci", "interface hostdev", "tpm passthrough"
	Filesystems    bool     // a host directory is shared with the guest
	SharedMemory   bool     // memory shared with other guests or the host
	LaunchSecurity string   // "sev" and the like, empty if none
}

// NIC is a network interface.
type NIC struct {
	Type   string // "bridge", "network", "direct", …
	MAC    string // lower case; empty if libvirt is to choose it
	Source string // bridge, network or host device
	Model  string
	Target string // device on the host, of a running guest; else mostly empty
	// VNI is the text that clients expect: the digits of a bridge vmbr<vni>; "cluster",
	// "storage" or "upstream" for the bridges of those names; "macvtap:<device>",
	// "hostdev:<device>"; anything else is the source as it is.
	VNI string
}

// Disk is a disk, CD-ROM or floppy drive.
type Disk struct {
	Type   string // "file", "block", "dir", "volume", …; the protocol of a network disk: "rbd"
	Device string // "disk", "cdrom", "floppy", "lun"
	// Name is the RBD "pool/volume", or the path; empty for a drive without a medium.
	Name      string
	Dev       string // target: "vda"
	Bus       string
	Format    string // "raw", "qcow2"; empty if not given
	Cache     string
	ReadOnly  bool // said, or implied by the kind of drive
	Shareable bool
	Hosts     []string // "name:port" of a network disk's servers; of RBD the monitors
	Snapshot  string   // of an RBD image; it is read-only
}

// Controller is a bus controller.
type Controller struct {
	Type  string
	Model string // empty if not given
}

// VNC is the VNC console; both empty if there is none.
type VNC struct {
	Listen string
	Port   string // "auto" if libvirt chooses it
}

// StateFile is a file that the guest writes besides its disks.
type StateFile struct {
	Type string // "file", "dir", "block", or the protocol: "rbd"
	// Name is the path or RBD "pool/volume"; empty if libvirt puts the file into a
	// directory of the host.
	Name string
}
