package zk

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// packet is a request of the protocol with nothing after its header.
func packet(operation uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, 8)
	b = binary.BigEndian.AppendUint32(b, 1)
	return binary.BigEndian.AppendUint32(b, operation)
}

// wire is a settling connection and the server's end of it, which reads everything.
func wire(t *testing.T, over <-chan struct{}) (*settling, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	c := settle(near, over)
	t.Cleanup(func() { _ = c.Close(); _ = far.Close() }) // closing twice is fine
	go func() { _, _ = io.Copy(io.Discard, far) }()      // ends with the pipe
	return c, far
}

func send(t *testing.T, c net.Conn, operations ...uint32) {
	t.Helper()
	for _, op := range operations {
		if _, err := c.Write(packet(op)); err != nil {
			t.Fatal(err)
		}
	}
}

// answer has the server answer and returns what is closed when the answer was handed over.
func answer(t *testing.T, c *settling, far net.Conn) <-chan struct{} {
	t.Helper()
	handed := make(chan struct{})
	go func() {
		defer close(handed)
		_, _ = c.Read(make([]byte, 1)) // how it ends is not asked
	}()
	if _, err := far.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	return handed
}

func TestAnswersWaitForTheWatches(t *testing.T) {
	const opGet, opConnect = 4, 7 // the latter is no operation but a zxid's upper half
	ends := map[string]func(*testing.T, *settling, chan struct{}){
		"the watches are set":   func(t *testing.T, c *settling, _ chan struct{}) { send(t, c, opSetWatches) },
		"the client is closed":  func(_ *testing.T, _ *settling, over chan struct{}) { close(over) },
		"the connection closes": func(_ *testing.T, c *settling, _ chan struct{}) { _ = c.Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			c, far := wire(t, over)
			send(t, c, opConnect)
			<-answer(t, c, far)
			send(t, c, opSetAuth)
			<-answer(t, c, far)
			send(t, c, opPing, opGet)
			held := answer(t, c, far)
			select {
			case <-held:
				t.Fatal("an answer was handed over before the watches were set")
			case <-time.After(50 * time.Millisecond): // what is wrong shows at once
			}
			end(t, c, over)
			<-held
		})
	}
}
