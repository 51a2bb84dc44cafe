package dhcp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// callTimeout bounds one call of Leases.
const callTimeout = 10 * time.Second

// book holds the leases of one network as they are or soon will be on record.
type book struct {
	vni    int
	record Leases

	io chan struct{} // with one place, taken while the record is read or written

	mu     sync.Mutex
	naming naming
	loaded bool
	leases map[string]Lease  // by key
	due    map[string]change // what is not on record yet, by key
	count  int               // of changes
}

// change is one that must be recorded: the lease that has gone, or the number of the
// change by which the one in the book came.
type change struct {
	number int
	gone   Lease
}

func newBook(vni int, record Leases) *book {
	return &book{vni: vni, record: record, io: make(chan struct{}, 1), leases: map[string]Lease{}, due: map[string]change{}}
}

func (b *book) setNaming(n naming) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.naming = n
}

// load reads the record and returns it as a lease file; what waits to be recorded is in
// it. left says what of the record cannot be used.
func (b *book) load(ctx context.Context) (text string, left, err error) {
	if err := b.begin(ctx); err != nil {
		return "", nil, err
	}
	defer b.end()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	known, err := b.record.Known(ctx, b.vni)
	if err != nil {
		return "", nil, fmt.Errorf("read the leases of network %d: %w", b.vni, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	leases := map[string]Lease{}
	for _, l := range known {
		leases[l.key()] = l
	}
	for key := range b.due {
		if l, ok := b.leases[key]; ok {
			leases[key] = l
		} else {
			delete(leases, key)
		}
	}
	b.leases, b.loaded = leases, true
	text, left = database(slices.Collect(maps.Values(leases)))
	return text, left, nil
}

// begin waits for the turn to read or write the record, end gives it on.
func (b *book) begin(ctx context.Context) error {
	select {
	case b.io <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errs.Unavailablef("the record of network %d is busy: %w", b.vni, ctx.Err())
	}
}

func (b *book) end() { <-b.io }

// apply takes a change over; it says whether there is something to record.
func (b *book) apply(e event) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.loaded {
		return false, errs.Unavailablef("the leases of network %d are not known yet", b.vni)
	}
	before := b.count
	if e.action == actionDel {
		b.remove(e.lease)
	} else {
		b.put(e)
	}
	return b.count != before, nil
}

func (b *book) remove(l Lease) {
	key := l.key()
	if had, ok := b.leases[key]; ok && had.Address == l.Address {
		delete(b.leases, key)
		b.count++
		b.due[key] = change{b.count, had}
	}
}

func (b *book) put(e event) {
	l, key := e.lease, e.lease.key()
	had, ok := b.leases[key]
	if ok && had.Address == l.Address {
		// At a reload dnsmasq does not tell everything again.
		if l.ClientID == "*" {
			l.ClientID = had.ClientID
		}
		if l.ServerDUID == "" {
			l.ServerDUID = had.ServerDUID
		}
	}
	for other, o := range b.leases {
		if other != key && o.Address == l.Address {
			b.remove(o) // dnsmasq knows better who has it
		}
	}
	l.Hostname = b.naming.decide(e, b.leases)
	if ok && had == l {
		return
	}
	b.leases[key] = l
	b.count++
	b.due[key] = change{number: b.count}
}

// flush records what is due. It ends with the first error that may pass; one that is
// final it reports to lost, and forgets the change.
func (b *book) flush(ctx context.Context, lost func(Lease, error)) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.end()
	for {
		key, l, gone, number, ok := b.next()
		if !ok {
			return nil
		}
		err := b.write(ctx, l, gone)
		if err != nil && !final(err) {
			return fmt.Errorf("record the lease of %s in network %d: %w", l.Address, b.vni, err)
		}
		if err != nil {
			lost(l, err)
		}
		b.mu.Lock()
		if b.due[key].number == number { // else it has changed again
			delete(b.due, key)
		}
		b.mu.Unlock()
	}
}

// next is the oldest change that is due.
func (b *book) next() (key string, l Lease, gone bool, number int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, c := range b.due {
		if !ok || c.number < number {
			key, number, ok = k, c.number, true
		}
	}
	l, has := b.leases[key]
	if !has {
		l = b.due[key].gone
	}
	return key, l, !has, number, ok
}

func (b *book) write(ctx context.Context, l Lease, gone bool) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if gone {
		return b.record.Drop(ctx, b.vni, l)
	}
	return b.record.Put(ctx, b.vni, l)
}

// left is the number of changes that are not on record.
func (b *book) left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.due)
}

func final(err error) bool {
	return errs.Is(err, errs.NotFound) || errs.Is(err, errs.Invalid) || errs.Is(err, errs.Denied)
}
