package primary

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// probeTimeout bounds the question whether a host answers.
const probeTimeout = 3 * time.Second

// probePorts are libvirt's with TLS and without. Any other port would do: a refused
// connection is an answer too.
var probePorts = []int{16514, 16509}

// HostAnswers reports whether anything answers at the host's address: a connection
// that is accepted, or one that is refused, which takes a living kernel. It is the
// usual [OverviewOptions].Answers. A firewall that drops makes a host silent.
func HostAnswers(ctx context.Context, host Sight) bool {
	return anyAnswers(ctx, cmp.Or(host.Facts.Address, host.Node), probePorts)
}

func anyAnswers(ctx context.Context, address string, ports []int) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var answered atomic.Bool
	var asking sync.WaitGroup
	for _, port := range ports {
		asking.Go(func() {
			var d net.Dialer
			c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
			if err == nil {
				_ = c.Close() // it has served its purpose
			}
			if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
				answered.Store(true)
				cancel()
			}
		})
	}
	asking.Wait()
	return answered.Load()
}
