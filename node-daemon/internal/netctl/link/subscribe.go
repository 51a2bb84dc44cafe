package link

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// eventBuffer holds what the kernel reports while nobody reads: hundreds of links.
const eventBuffer = 1 << 20

// Subscribe tells when something has changed that Apply, or whoever keeps addresses,
// may have to put right: a link appeared, changed or vanished, an address vanished, a
// forwarding entry for everybody came or went. Changes are coalesced: one value stands
// for all since the last one was taken. Values also come from what Apply itself does.
//
// When the kernel had more to say than the buffer holds there is a value too. The
// channel is closed when ctx has ended, or when the kernel cannot be listened to any
// longer, which is logged; then the caller subscribes again.
func (l *Links) Subscribe(ctx context.Context) (<-chan struct{}, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return nil, fmt.Errorf("subscribe to changes of the network devices: %w", err)
	}
	if err := socket.SetReceiveBufferSize(eventBuffer, true); err != nil { // needs CAP_NET_ADMIN
		l.log.Debug("small buffer for network events", "err", err)
	}
	stop := context.AfterFunc(ctx, socket.Close)
	changes := make(chan struct{}, 1)
	go func() { // ends with ctx and says so by closing the channel
		defer close(changes)
		defer func() {
			if stop() {
				socket.Close()
			}
		}()
		l.listen(ctx, socket, changes)
	}()
	return changes, nil
}

func (l *Links) listen(ctx context.Context, socket *nl.NetlinkSocket, changes chan<- struct{}) {
	for {
		msgs, from, err := socket.Receive()
		if ctx.Err() != nil {
			return
		}
		if err == nil && (from.Pid != nl.PidKernel || !relevant(msgs)) {
			continue
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // that: messages were lost, so look
			l.log.Error("changes of the network devices are not noticed any longer", "err", err)
			return
		}
		select {
		case changes <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// relevant leaves out what happens all the time: addresses that are prolonged,
// neighbours that are resolved, guests that are learned.
func relevant(msgs []syscall.NetlinkMessage) bool {
	for _, m := range msgs {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_DELADDR:
			return true
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			if n, err := netlink.NeighDeserialize(m.Data); err == nil && n.Family == unix.AF_BRIDGE {
				if e, ok := forwarding(*n); ok && e.flood() {
					return true
				}
			}
		}
	}
	return false
}
