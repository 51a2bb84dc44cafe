// Package units starts and stops the units of a host: daemons that something else keeps
// running, as those of Ceph. [Systemd] asks the host's systemd; [Supervisor] asks the init
// of a testbed host, which has no systemd. Both pass the suite in units/conformance.
package units
