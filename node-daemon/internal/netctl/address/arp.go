package address

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// announcements are sent one after another: both forms that RFC 5227 knows, as some
// neighbours heed only one.
var announcements = []uint16{arpRequest, arpReply}

const (
	arpRequest uint16 = 1
	arpReply   uint16 = 2
)

// gratuitousARP is the Ethernet frame by which mac announces ip to everybody (RFC 826,
// RFC 5227 section 3).
func gratuitousARP(mac net.HardwareAddr, ip netip.Addr, operation uint16) []byte {
	broadcast := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	v4 := ip.As4()
	var f []byte
	f = append(f, broadcast...)
	f = append(f, mac...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_ARP)
	f = binary.BigEndian.AppendUint16(f, 1) // Ethernet
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_IP)
	f = append(f, 6, 4) // lengths of the addresses
	f = binary.BigEndian.AppendUint16(f, operation)
	f = append(f, mac...)
	f = append(f, v4[:]...)
	f = append(f, broadcast...)
	return append(f, v4[:]...)
}

// openPackets returns a socket for frames to any device. Those who have many to send keep
// it: when one is closed the kernel waits for all its readers, which takes 10 ms.
func openPackets() (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("open a packet socket: %w", err)
	}
	return fd, nil
}

// sendGratuitousARP announces an IPv4 address on a device.
func sendGratuitousARP(packets int, device string, ip netip.Addr) error {
	dev, err := interfaceOf(device)
	if err != nil {
		return err
	}
	if len(dev.HardwareAddr) != 6 {
		return errs.Invalidf("%s is no Ethernet device", device)
	}
	to := &unix.SockaddrLinklayer{Ifindex: dev.Index}
	for _, operation := range announcements {
		if err := unix.Sendto(packets, gratuitousARP(dev.HardwareAddr, ip, operation), 0, to); err != nil {
			return fmt.Errorf("send on %s: %w", device, err)
		}
	}
	return nil
}
