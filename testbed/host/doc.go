// Package host makes hosts out of namespaces: machines that can be powered on,
// cut from power, unplugged from the network and looked into, a dozen on one.
//
// A Host is one process, its init, that holds a network, mount, UTS and PID
// namespace. Killing it is a power cut: the kernel kills everything inside. The
// init reaps orphans (libvirt takes a QEMU that nobody has waited for as alive)
// and supervises services as systemd would: one that ends is started again
// after a second. A Switch is a process that holds a network namespace with a
// bridge; every host has one cable to it, and so has the real machine, so that
// hosts can be reached from outside.
//
// Nothing outlives its process: no named namespaces, no interfaces left over.
// Processes of a switch or host that is not Lingering die with the process that
// started them, however that one ends.
//
// The init is the calling program itself, executed again under another name;
// the package takes over before main (or the tests) run.
package host
