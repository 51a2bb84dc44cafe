// Package hypervisor says what the node daemon needs of a hypervisor. Package
// hypervisor/libvirt drives the real one and is the only importer of the libvirt
// binding; hypervisor/fake is the one that can be made to fail on demand. Both pass
// the suite in hypervisor/conformance.
package hypervisor
