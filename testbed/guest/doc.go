// Package guest makes the two virtual machines that the testbed runs, and
// judges what they wrote.
//
// The tiny guest (Tick) is a real-mode kernel of 2 KiB that counts seconds on
// its serial console: ready 0.2 s after its start, half a percent of a core,
// thirty fit on a laptop. The Linux guest (Linux) is Debian's cloud kernel with
// a busybox initramfs. Told to (Seq), it writes the identity of its boot and a
// sequence number to the console and to its disk at a steady pace; Console and
// Disk prove from that: one boot, nothing missing, nothing twice.
//
// Both are emulated (domain type qemu) and need no KVM.
package guest
