package frames

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Untagged is what a frame without a VLAN tag counts as.
const Untagged = -1

// Watcher notes the frames that a device receives: their senders, and the VLANs of their
// tags.
type Watcher struct {
	file  *os.File
	ended chan struct{}

	mu   sync.Mutex
	seen map[string][]int // by sender
	err  error
}

// Watch notes what arrives at an open device from now on, until the test ends.
func Watch(t testing.TB, file *os.File) *Watcher {
	w := &Watcher{file: file, ended: make(chan struct{}), seen: map[string][]int{}}
	go w.run()
	t.Cleanup(func() { w.file.Close(); <-w.ended })
	return w
}

// Open receives every frame of a device in the network name space of the calling thread.
func Open(device string) (*os.File, error) {
	fd, err := packetSocket(device)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "frames of "+device), nil
}

// packetSocket receives every frame of a device with what the kernel says beside it.
func packetSocket(device string) (int, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0) // nothing before it is bound
	if err != nil {
		return -1, err
	}
	every := uint16(unix.ETH_P_ALL)
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: dev.Index, Protocol: every<<8 | every>>8})) // network byte order
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (w *Watcher) run() {
	defer close(w.ended)
	raw, err := w.file.SyscallConn()
	if err != nil {
		w.fail(err)
		return
	}
	frame, beside := make([]byte, 2048), make([]byte, 256)
	for {
		var n, m int
		var got error
		err := raw.Read(func(fd uintptr) bool {
			n, m, _, _, got = unix.Recvmsg(int(fd), frame, beside, 0)
			return !errors.Is(got, unix.EAGAIN)
		})
		if err != nil {
			return // the test has ended
		}
		tag, err := tagOf(beside[:m])
		if err := errors.Join(got, err); err != nil {
			w.fail(err)
			return
		}
		if n >= 12 {
			w.note(net.HardwareAddr(frame[6:12]).String(), tag)
		}
	}
}

func (w *Watcher) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *Watcher) note(sender string, tag int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.seen[sender], tag) {
		w.seen[sender] = append(w.seen[sender], tag)
	}
}

// Tags are those of the senders that were seen, ascending, by hardware address.
func (w *Watcher) Tags(t testing.TB, senders ...string) map[string][]int {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		t.Fatal(w.err)
	}
	out := map[string][]int{}
	for _, s := range senders {
		if tags, ok := w.seen[s]; ok {
			out[s] = slices.Sorted(slices.Values(tags))
		}
	}
	return out
}

// tagOf reads the tag that the kernel has taken out of a frame: struct tpacket_auxdata
// of linux/if_packet.h. A tag of another kind than 802.1Q is an error.
func tagOf(beside []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(beside)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
			continue
		}
		if binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID == 0 {
			return Untagged, nil
		}
		if kind := binary.NativeEndian.Uint16(m.Data[18:]); kind != unix.ETH_P_8021Q {
			return 0, errors.New("a tag that is not one of 802.1Q")
		}
		return int(binary.NativeEndian.Uint16(m.Data[16:]) & 0x0fff), nil
	}
	return 0, errors.New("the kernel says nothing about a frame's tag")
}
