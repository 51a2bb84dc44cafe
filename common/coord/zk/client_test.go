package zk_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

func TestAConnectionThatBreaksUnderLoadSettles(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	server := e.Addrs()[0]
	// Where another address is left to try, the library keeps requests not yet sent for
	// the next connection: they are the ones that go out before the watches are set.
	proxy := coordtest.NewProxy(t, []string{server, server, server})
	connected := make(chan struct{}, 100) // more than there are breaks
	c, err := zk.Dial(t.Context(), coord.Options{Servers: proxy.Addrs(), Timeout: 10 * time.Second, OnEvent: func(e coord.Event) {
		if e.Kind == coord.EventConnected {
			connected <- struct{}{}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	for range 64 {
		load.Go(func() {
			for ctx.Err() == nil {
				if _, _, err := c.GetW(ctx, "/zookeeper/quota"); err != nil {
					time.Sleep(time.Millisecond) // a client without a connection refuses at once
				}
			}
		})
	}
	for range 20 {
		<-connected
		coordtest.Eventually(t, "an answer", func() bool {
			_, _, err := c.Get(ctx, "/zookeeper/quota")
			return err == nil
		})
		proxy.Drop()
	}
	<-connected
	c.Close() // right now: this too must not get in the way of the watches
}

func TestAServerThatDoesNotGreetIsLeftInTime(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	proxy := coordtest.NewProxy(t, e.Addrs())
	proxy.Ignore(1)
	c, err := zk.Dial(t.Context(), coord.Options{Servers: proxy.Addrs(), Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	proxy.Ignore(2)
	proxy.Drop()
	coordtest.Eventually(t, "an answer", func() bool {
		_, _, err := c.Get(t.Context(), "/zookeeper/quota")
		return err == nil
	})
	select {
	case <-c.Lost():
		t.Error("the session was lost while servers did not answer")
	default:
	}
}
