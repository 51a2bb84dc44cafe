package libvirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	lv "libvirt.org/go/libvirt"
)

const (
	pingEvery    = time.Second
	pingPatience = 4 * time.Second
	endPatience  = time.Second
)

// session is one connection of a Driver, from its opening until it is lost or given
// up. libvirt's own keepalive is not used on it: when it closes a connection on which
// several threads wait, libvirt 9.0 follows a null pointer (virNetClientIOEventLoop).
type session struct {
	conn   *lv.Connect
	detach func()        // takes the registration for events back
	closed chan struct{} // the connection is dead, says libvirt
	given  chan struct{} // closed by end: nobody waits for its answers any more
}

var (
	errLost = errors.New("the connection was lost")
	errHung = fmt.Errorf("no answer within %v", pingPatience)
)

// newSession registers for the end and the events of conn, which belongs to it from
// now on, also on failure.
func newSession(conn *lv.Connect, subs *subscribers) (*session, error) {
	s := &session{conn: conn, closed: make(chan struct{}), given: make(chan struct{})}
	err := conn.RegisterCloseCallback(func(*lv.Connect, lv.ConnectCloseReason) { close(s.closed) })
	if err != nil {
		closeConn(conn)
		return nil, fmt.Errorf("watch the connection: %w", err)
	}
	if s.detach, err = subs.attach(conn); err != nil {
		_ = conn.UnregisterCloseCallback()
		closeConn(conn)
		return nil, err
	}
	return s, nil
}

// watch asks libvirt for a sign of life every second until there is none, and returns
// why it has ended.
func (s *session) watch(ctx context.Context, done <-chan struct{}) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	answered, asked := make(chan struct{}, 1), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return errClosed
		case <-done:
			return errClosed
		case <-s.closed:
			return errLost
		case <-answered:
			asked = time.Time{}
		case now := <-tick.C:
			switch {
			case asked.IsZero():
				asked = now
				if s.conn.Ref() == nil { // before: the session may end meanwhile
					go s.ping(answered)
				}
			case now.Sub(asked) >= pingPatience:
				return errHung
			}
		}
	}
}

// ping returns when libvirtd has answered or is dead. The call is one that libvirtd
// answers even when all its ordinary workers wait. It gives a reference back.
func (s *session) ping(answered chan<- struct{}) {
	defer closeConn(s.conn)
	if _, err := s.conn.GetLibVersion(); err == nil {
		answered <- struct{}{}
	}
}

// alive asks the local end; it does not wait.
func (s *session) alive() bool {
	select {
	case <-s.given:
		return false
	case <-s.closed:
		return false
	default:
		alive, err := s.conn.IsAlive()
		return err == nil && alive
	}
}

// end gives the connection back. A hung libvirtd is not waited for: what is left to do
// is done when it goes on or dies.
func (s *session) end() {
	close(s.given)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.detach()
		_ = s.conn.UnregisterCloseCallback()
		closeConn(s.conn)
	}()
	select {
	case <-ended:
	case <-time.After(endPatience):
	}
}
