package libvirt

import (
	"fmt"
	"sync"

	lv "libvirt.org/go/libvirt"
)

// startEventLoop registers libvirt's own event loop and runs it, once per process
// and for ever: libvirt has no way to take it back, and connections opened before it
// would get neither events nor keepalives. The one goroutine is never ended.
var startEventLoop = sync.OnceValue(func() error {
	if err := lv.EventRegisterDefaultImpl(); err != nil {
		return fmt.Errorf("start libvirt's event loop: %w", err)
	}
	go func() {
		for {
			// It fails only when poll(2) does; the next turn tries again.
			_ = lv.EventRunDefaultImpl()
		}
	}()
	return nil
})
