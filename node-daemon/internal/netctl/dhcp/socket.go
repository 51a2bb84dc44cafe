package dhcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// requestTimeout is how long a hook may take to say what it has to say. It says it at
// once; another hook may wait behind it.
const requestTimeout = 2 * time.Second

// listen makes the socket, for root and dnsmasq's user.
func listen(path string, owner user) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// Who connects before this is told off: each peer is looked at.
	if err := errors.Join(os.Chmod(path, 0o600), os.Chown(path, int(owner.uid), int(owner.gid))); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// serveHooks answers hooks until ctx ends. Requests are taken one after the other, so that
// two changes of a lease come into the book in their order even if a hook has given up
// waiting. Only init, which waits for the record, goes on beside it.
func (s *Servers) serveHooks(ctx context.Context, l *net.UnixListener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var inits sync.WaitGroup
	defer inits.Wait()
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a DHCP hook: %w", err)
		}
		q, err := s.receive(conn)
		if err == nil && len(q.Args) > 0 && q.Args[0] == actionInit {
			inits.Go(func() { s.answer(conn, func() (string, error) { return s.initial(ctx, q) }) })
			continue
		}
		s.answer(conn, func() (string, error) {
			if err != nil {
				return "", err
			}
			return "", s.changed(q)
		})
	}
}

func (s *Servers) receive(conn *net.UnixConn) (q request, err error) {
	if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return q, err
	}
	uid, err := peer(conn)
	if err != nil {
		return q, err
	}
	if uid != 0 && uid != s.user.uid {
		return q, errs.Deniedf("user %d is not the one of dnsmasq", uid)
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxMessage)).Decode(&q); err != nil {
		return q, errs.Invalidf("request: %w", err)
	}
	return q, nil
}

// peer is the user at the other end of a socket (SO_PEERCRED, unix(7)).
func peer(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, inner); err != nil {
		return 0, fmt.Errorf("ask who calls: %w", err)
	}
	return cred.Uid, nil
}

// answer does the work and tells the hook how it went. Only a hook that has gone
// does not hear it; then dnsmasq logs that.
func (s *Servers) answer(conn *net.UnixConn, work func() (string, error)) {
	defer conn.Close()
	var a response
	text, err := work()
	if a.Text = text; err != nil {
		a.Error = err.Error()
		s.log.Info("a change of a lease was not taken", "err", err)
	}
	_ = conn.SetDeadline(time.Now().Add(requestTimeout))
	_ = json.NewEncoder(conn).Encode(a)
}

func (s *Servers) initial(ctx context.Context, q request) (string, error) {
	v, err := s.find(q)
	if err != nil {
		return "", err
	}
	text, left, err := v.book.load(ctx)
	if err != nil {
		return "", err
	}
	if left != nil {
		s.log.Warn("leases on record that cannot be used", "network", v.vni, "err", left)
	}
	v.initialised()
	return text, nil
}

func (s *Servers) changed(q request) error {
	v, err := s.find(q)
	if err != nil {
		return err
	}
	e, err := parseEvent(q.Args, q.Env)
	if err != nil {
		return fmt.Errorf("network %d: %w", v.vni, err)
	}
	due, err := v.book.apply(e)
	if due {
		wake(s.due)
	}
	return err
}

// find returns the server of the network that a hook speaks for.
func (s *Servers) find(q request) (*server, error) {
	vni, err := strconv.Atoi(q.Network)
	if err != nil {
		return nil, errs.Invalidf("network %q", model.Clip(q.Network))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.servers[vni]; v != nil {
		return v, nil
	}
	return nil, errs.NotFoundf("network %d has no DHCP server here", vni)
}

// wake makes the reader of a channel with one place look.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
