package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// monitor is a connection to one QEMU (QMP, docs/interop/qmp-spec.txt of QEMU).
type monitor struct {
	conn  net.Conn
	event func(name string, at time.Time)

	mu      sync.Mutex
	next    int
	pending map[int]chan reply
	ended   chan struct{} // closed when the connection is over
}

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	ID    int    `json:"id"`
	Event string `json:"event"`
	Time  struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
}

// openMonitor connects to the socket of a QEMU and begins to read. event is called
// for each event with QEMU's own time of it, in order; ended is called once, after
// the last event, when the process or the connection is gone.
func openMonitor(ctx context.Context, socket string, event func(string, time.Time), ended func()) (*monitor, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	m := &monitor{conn: conn, event: event, pending: map[int]chan reply{}, ended: make(chan struct{})}
	go func() { // ends with the connection; close waits for it
		m.read()
		ended()
		close(m.ended)
	}()
	if err := m.execute(ctx, "qmp_capabilities", nil); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *monitor) close() {
	m.conn.Close()
	<-m.ended
}

func (m *monitor) read() {
	lines := bufio.NewScanner(m.conn)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r reply
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			return
		}
		if r.Event != "" {
			m.event(r.Event, time.Unix(r.Time.Seconds, r.Time.Microseconds*1000))
			continue
		}
		m.mu.Lock()
		answer := m.pending[r.ID]
		delete(m.pending, r.ID)
		m.mu.Unlock()
		if answer != nil {
			answer <- r
		}
	}
}

var errMonitorEnded = errors.New("the monitor's connection has ended")

// execute sends a command and reads its answer into out, which may be nil.
func (m *monitor) execute(ctx context.Context, command string, out any) error {
	answer := make(chan reply, 1)
	m.mu.Lock()
	m.next++
	id := m.next
	m.pending[id] = answer
	_, err := fmt.Fprintf(m.conn, `{"execute":%q,"id":%d}`+"\n", command, id)
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	select {
	case r := <-answer:
		if r.Error != nil {
			return fmt.Errorf("%s: %s", command, r.Error.Desc)
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(r.Return, out)
	case <-m.ended:
		return fmt.Errorf("%s: %w", command, errMonitorEnded)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", command, ctx.Err())
	}
}
