package libvirt

import (
	"context"
	"fmt"

	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// maxPeerCalls bounds the connections to hosts that may be dead: each can hang for
// as long as the kernel tries to connect (about two minutes).
const maxPeerCalls = 16

// Peer is the hypervisor.Peer. Each question is a connection of its own.
type Peer struct{ slots chan struct{} }

var _ hypervisor.Peer = (*Peer)(nil)

// NewPeer returns a Peer; it needs no Driver.
func NewPeer() *Peer { return &Peer{slots: make(chan struct{}, maxPeerCalls)} }

// Lookup implements hypervisor.Peer. Any failure is errs.Unavailable: a host that
// cannot be asked has not answered.
func (p *Peer) Lookup(ctx context.Context, uri, uuid string) (hypervisor.Domain, error) {
	ctx, cancel := context.WithTimeout(ctx, hypervisor.CallTimeout)
	defer cancel()
	d, err := p.ask(ctx, uri, uuid)
	if err != nil {
		return hypervisor.Domain{}, errs.Unavailablef("ask %s for domain %s: %w", uri, uuid, err)
	}
	return d, nil
}

func (p *Peer) ask(ctx context.Context, uri, uuid string) (hypervisor.Domain, error) {
	if err := startEventLoop(); err != nil {
		return hypervisor.Domain{}, err
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return hypervisor.Domain{}, fmt.Errorf("%d questions are open: %w", maxPeerCalls, context.Cause(ctx))
	}
	type result struct {
		dom hypervisor.Domain
		err error
	}
	answered := make(chan result, 1)
	go func() {
		defer func() { <-p.slots }()
		dom, err := askOnce(uri, uuid)
		answered <- result{dom, err}
	}()
	select {
	case r := <-answered:
		return r.dom, r.err
	case <-ctx.Done():
		return hypervisor.Domain{}, context.Cause(ctx)
	}
}

const (
	keepaliveInterval = 1 // seconds
	keepaliveCount    = 3 // unanswered, until the connection is closed
)

// askOnce uses libvirt's keepalive, which is safe on a connection of one thread.
func askOnce(uri, uuid string) (hypervisor.Domain, error) {
	conn, err := lv.NewConnect(uri)
	if err != nil {
		return hypervisor.Domain{}, err
	}
	defer closeConn(conn)
	if err := conn.SetKeepAlive(keepaliveInterval, keepaliveCount); err != nil {
		return hypervisor.Domain{}, err
	}
	return lookup(conn, uuid)
}
