package follow

import (
	"net"
	"sync"
)

// closeOnce is a listener that several parties may close.
type closeOnce struct {
	net.Listener
	once sync.Once
	err  error
}

// Close closes the listener the first time; every call waits for that.
func (l *closeOnce) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}
