package watch

import (
	"context"
	"errors"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/coord"
)

// Hub hands the events of one session to the sets that wait for them. The zero
// value is ready; [Hub.OnEvent] goes into coord.Options.
type Hub struct {
	mu   sync.Mutex
	sets map[*Set]struct{}
}

// OnEvent takes an event of the session. It never blocks.
func (h *Hub) OnEvent(e coord.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.sets {
		s.event(e)
	}
}

// Set reads znodes with the watches of one loop. Its methods are for one goroutine
// at a time: of two readers sharing a watch, one could read before the other's watch
// is in force and miss a change.
type Set struct {
	client coord.Client
	hub    *Hub
	wake   chan struct{}

	mu    sync.Mutex
	armed map[key]struct{}
}

type key struct {
	kind coord.EventKind
	path string
}

// NewSet returns an empty set on the client whose events the hub gets.
func (h *Hub) NewSet(client coord.Client) *Set {
	s := &Set{client: client, hub: h, wake: make(chan struct{}, 1), armed: map[key]struct{}{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sets == nil {
		h.sets = map[*Set]struct{}{}
	}
	h.sets[s] = struct{}{}
	return s
}

// Close ends the set. Watches that ZooKeeper still holds for it fire into the void.
func (s *Set) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.sets, s)
}

// Changed receives when a znode that was read may have changed, or the connection
// was lost or came back. Signals are merged.
func (s *Set) Changed() <-chan struct{} { return s.wake }

func (s *Set) event(e coord.Event) {
	if !s.disarm(e) {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// disarm forgets the watches that an event used up and reports whether the set is
// concerned. A new connection puts all watches in doubt: the library sends them
// again, but loses changes when the connection drops once more meanwhile.
func (s *Set) disarm(e coord.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Path == "" {
		clear(s.armed)
		return true
	}
	k := key{e.Kind, e.Path}
	_, mine := s.armed[k]
	delete(s.armed, k)
	return mine
}

// arm reports whether a watch has to be left. The mark is set before the request is
// sent, so that an event that overtakes the answer takes it away again.
func (s *Set) arm(k key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.armed[k]; there {
		return false
	}
	s.armed[k] = struct{}{}
	return true
}

func (s *Set) unarm(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.armed, k)
}

// Value returns the data of a znode, ok false if it does not exist, and watches for
// it to be set, created or deleted.
func (s *Set) Value(ctx context.Context, path string) (data []byte, st coord.Stat, ok bool, err error) {
	k := key{coord.EventData, path}
	if !s.arm(k) {
		data, st, err = s.client.Get(ctx, path)
		return found(data, st, err)
	}
	data, st, err = s.client.GetW(ctx, path)
	if errors.Is(err, coord.ErrNoNode) {
		if st, ok, err = s.client.ExistsW(ctx, path); err == nil && ok {
			data, st, err = s.client.Get(ctx, path)
		} else if err == nil {
			return nil, coord.Stat{}, false, nil
		}
	}
	if err != nil && !errors.Is(err, coord.ErrNoNode) {
		s.unarm(k)
	}
	return found(data, st, err)
}

func found(data []byte, st coord.Stat, err error) ([]byte, coord.Stat, bool, error) {
	if errors.Is(err, coord.ErrNoNode) {
		return nil, coord.Stat{}, false, nil
	}
	return data, st, err == nil, err
}

// Exists reports whether a znode exists and watches for it to be set, created or
// deleted.
func (s *Set) Exists(ctx context.Context, path string) (st coord.Stat, ok bool, err error) {
	k := key{coord.EventData, path}
	if !s.arm(k) {
		return s.client.Exists(ctx, path)
	}
	if st, ok, err = s.client.ExistsW(ctx, path); err != nil {
		s.unarm(k)
	}
	return st, ok, err
}

// Children returns the names below a znode and watches for one to come or go. A
// missing znode has none and is not watched: watch its Value for that.
func (s *Set) Children(ctx context.Context, path string) ([]string, error) {
	k := key{coord.EventChildren, path}
	var names []string
	var err error
	if s.arm(k) {
		if names, _, err = s.client.ChildrenW(ctx, path); err != nil {
			s.unarm(k)
		}
	} else {
		names, _, err = s.client.Children(ctx, path)
	}
	if errors.Is(err, coord.ErrNoNode) {
		s.unarm(k)
		return nil, nil
	}
	return names, err
}
