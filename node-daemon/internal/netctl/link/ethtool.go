package link

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct{ command, data uint32 }

// ethtoolRequest is struct ifreq of linux/if.h as SIOCETHTOOL takes it.
type ethtoolRequest struct {
	name  [unix.IFNAMSIZ]byte
	value *ethtoolValue
	_     [16]byte // the union of struct ifreq is larger than a pointer
}

func (k *kernel) ethtool(device string, v *ethtoolValue) error {
	r := ethtoolRequest{value: v}
	copy(r.name[:unix.IFNAMSIZ-1], device)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(k.ioctl), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return errno
	}
	return nil
}

// checksumOffload says whether the device leaves transmit checksums to hardware. A
// device that has gone meanwhile, or cannot tell, has nothing to switch off.
func (k *kernel) checksumOffload(device string) bool {
	v := ethtoolValue{command: unix.ETHTOOL_GTXCSUM}
	return k.ethtool(device, &v) == nil && v.data != 0
}

// stopChecksumOffload has checksums computed before a frame enters the bridge: what
// DHCP clients read from a packet socket must have one.
func (k *kernel) stopChecksumOffload(device string) error {
	return k.ethtool(device, &ethtoolValue{command: unix.ETHTOOL_STXCSUM})
}
