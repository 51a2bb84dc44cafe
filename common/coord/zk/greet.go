package zk

import (
	"net"
	"time"
)

// greeting is a connection whose server has to answer the first packet soon. The library
// waits for that answer almost seven times as long as the session lives, and asks no
// other server meanwhile: a server that is frozen would cost the session, and so would one
// that was asked while it started (ZooKeeper 3.8 listens before it serves, and never answers
// about one in a hundred of those who ask in between).
type greeting struct {
	net.Conn
	patience time.Duration
	over     bool // the first answer has come; the library greets before it does anything else
}

// minPatience is what a server under load may take to open a session.
const minPatience = time.Second

// patience leaves time to ask several servers within a session.
func patience(session time.Duration) time.Duration { return max(session/5, minPatience) }

// SetReadDeadline brings the deadline of the first answer forward. The library takes that
// deadline away when the answer has come.
func (c *greeting) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		c.over = true
	} else if soon := time.Now().Add(c.patience); !c.over && soon.Before(t) {
		t = soon
	}
	return c.Conn.SetReadDeadline(t)
}
