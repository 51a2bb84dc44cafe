package libvirt

import (
	"context"
	"fmt"

	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// effect says whether a call that was sent and never answered may have changed
// something.
type effect bool

const (
	reads   effect = false
	changes effect = true
)

// call runs fn on the connection and waits for it no longer than ctx and
// hypervisor.CallTimeout allow. A call that is not waited for any more ends when
// libvirt answers it or the connection dies; it holds its slot until then. A read
// whose connection is lost begins again on the next one.
func call[T any](ctx context.Context, d *Driver, what string, e effect, fn func(*lv.Connect) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, hypervisor.CallTimeout)
	defer cancel()
	for {
		r, err := callOnce(ctx, d, e, fn)
		switch {
		case err == nil && r.err != nil && !r.alive && e == reads:
			continue
		case err == nil && r.err != nil:
			err = classify(r.err, r.alive, e)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
		return r.value, err
	}
}

func callOnce[T any](ctx context.Context, d *Driver, e effect, fn func(*lv.Connect) (T, error)) (answer[T], error) {
	b, err := begin(ctx, d, fn)
	if err != nil {
		return answer[T]{}, err
	}
	select {
	case r := <-b.answer:
		return r, nil
	case <-b.session.given:
		return b.lost(), nil
	case <-ctx.Done():
		return answer[T]{}, errs.New(lostKind(e), "libvirt has not answered: %w", context.Cause(ctx))
	}
}

// begun is a call under way.
type begun[T any] struct {
	session *session
	answer  chan answer[T]
}

type answer[T any] struct {
	value T
	err   error
	alive bool // the connection still was when the answer came
}

// lost is the answer of a call whose session was given up.
func (b begun[T]) lost() answer[T] {
	select {
	case r := <-b.answer: // it came in the end
		return r
	default:
		return answer[T]{err: errHung}
	}
}

// begin takes a slot and a reference of the connection and starts fn.
func begin[T any](ctx context.Context, d *Driver, fn func(*lv.Connect) (T, error)) (begun[T], error) {
	b := begun[T]{answer: make(chan answer[T], 1)}
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return b, errs.Unavailablef("%d calls wait for libvirt already: %w", maxCalls, context.Cause(ctx))
	}
	s, err := d.acquire(ctx)
	if err != nil {
		<-d.slots
		return b, err
	}
	b.session = s
	go func() {
		defer func() { <-d.slots }()
		defer closeConn(s.conn)
		value, err := fn(s.conn)
		b.answer <- answer[T]{value, err, s.alive()}
	}()
	return b, nil
}

// onDomain is call with the domain looked up. An absent one is errs.NotFound.
func onDomain[T any](ctx context.Context, d *Driver, what, uuid string, e effect, fn func(*lv.Domain) (T, error)) (T, error) {
	return call(ctx, d, what+" domain "+uuid, e, func(c *lv.Connect) (T, error) {
		dom, err := c.LookupDomainByUUIDString(uuid)
		if err != nil {
			var none T
			return none, err
		}
		defer free(dom)
		return fn(dom)
	})
}

// free gives a domain object back. It cannot fail for one that is freed once.
func free(d *lv.Domain) { _ = d.Free() }
