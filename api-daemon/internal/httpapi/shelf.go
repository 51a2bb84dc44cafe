package httpapi

import (
	"bytes"
	"compress/gzip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// shelf keeps objects as prepared JSON, and the whole list of them. V is what an
// object is rendered from: while it is equal, the bytes are.
type shelf[V comparable] struct {
	mu    sync.Mutex
	items map[string]shelved[V]

	build  sync.Mutex // held by the one who makes the next list
	pieces []piece[V] // of the last list, guarded by build
	list   atomic.Pointer[prepared]
}

type shelved[V comparable] struct {
	of   V
	json []byte
}

// item is an object of a list to be made.
type item[V comparable] struct {
	id string
	of V
}

// prepared is a complete list of one generation.
type prepared struct {
	generation uint64
	parts      [][]byte // one after the other
	once       sync.Once
	zipped     []byte
}

func newShelf[V comparable]() *shelf[V] {
	return &shelf[V]{items: make(map[string]shelved[V])}
}

// get returns the object's JSON, rendering it if it has changed.
func (s *shelf[V]) get(id string, of V, render func(V) []byte) []byte {
	s.mu.Lock()
	kept, ok := s.items[id]
	s.mu.Unlock()
	if ok && kept.of == of {
		return kept.json
	}
	b := render(of)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[id] = shelved[V]{of, b}
	return b
}

// whole returns the list of at least the wanted generation. collect tells what is in
// it now; it is called only if the list has to be made.
func (s *shelf[V]) whole(wanted uint64, collect func() (uint64, []item[V]), render func(V) []byte) *prepared {
	if p := s.list.Load(); p != nil && p.generation >= wanted {
		return p
	}
	s.build.Lock()
	defer s.build.Unlock()
	if p := s.list.Load(); p != nil && p.generation >= wanted {
		return p
	}
	generation, items := collect()
	s.pieces = s.cut(items, s.pieces, render)
	s.keep(len(items))
	p := &prepared{generation: generation, parts: texts(s.pieces)}
	s.list.Store(p)
	return p
}

// keep makes the pieces the place where the objects are, so that each is in memory
// once. What is not in the list is forgotten.
func (s *shelf[V]) keep(n int) {
	kept := make(map[string]shelved[V], n)
	for _, p := range s.pieces {
		for i, it := range p.items {
			kept[it.id] = shelved[V]{it.of, p.objects[i]}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = kept
}

// some renders a part of the objects as a list.
func (s *shelf[V]) some(items []item[V], render func(V) []byte) [][]byte {
	return texts(s.cut(items, nil, render))
}

// piece is a part of a list, so that a change of one object copies a piece of the list
// and not all of it: that is megabytes with thousands of VMs.
type piece[V comparable] struct {
	items       []item[V]
	objects     [][]byte // parts of json
	json        []byte   // with what stands before, between and behind the objects
	first, last bool     // of the list
}

// manyItems are the objects of a piece. Pieces are shared among the processors:
// rendering thousands of objects takes seconds.
const manyItems = 256

// cut makes a list in pieces; those of the old one that have not changed stay.
func (s *shelf[V]) cut(items []item[V], old []piece[V], render func(V) []byte) []piece[V] {
	pieces := []piece[V]{{first: true, last: true, json: []byte("[]\n")}}
	if len(items) > 0 {
		pieces = make([]piece[V], (len(items)+manyItems-1)/manyItems)
	}
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i*manyItems < len(items); i = int(next.Add(1)) - 1 {
			these := items[i*manyItems : min((i+1)*manyItems, len(items))]
			first, last := i == 0, i == len(pieces)-1
			if i < len(old) && old[i].first == first && old[i].last == last && slices.Equal(old[i].items, these) {
				pieces[i] = old[i]
			} else {
				pieces[i] = s.piece(these, first, last, render)
			}
		}
	}
	var helpers sync.WaitGroup
	for range min(len(pieces), runtime.GOMAXPROCS(0)) - 1 {
		helpers.Go(work)
	}
	work()
	helpers.Wait()
	return pieces
}

func (s *shelf[V]) piece(items []item[V], first, last bool, render func(V) []byte) piece[V] {
	p := piece[V]{items: items, objects: make([][]byte, len(items)), first: first, last: last}
	size := len("]\n")
	for i, it := range items {
		p.objects[i] = s.get(it.id, it.of, render)
		size += len(p.objects[i]) + 1
	}
	p.json = make([]byte, 0, size)
	for i, object := range p.objects {
		separator := byte(',')
		if first && i == 0 {
			separator = '['
		}
		p.json = append(p.json, separator)
		at := len(p.json)
		p.json = append(p.json, object...)
		p.objects[i] = p.json[at:len(p.json):len(p.json)]
	}
	if last {
		p.json = append(p.json, "]\n"...)
	}
	return p
}

func texts[V comparable](pieces []piece[V]) [][]byte {
	out := make([][]byte, len(pieces))
	for i := range pieces {
		out[i] = pieces[i].json
	}
	return out
}

// gzip returns the list compressed; it is made once, when first asked for.
func (p *prepared) gzip() []byte {
	p.once.Do(func() {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // fails for an unknown level only
		for _, part := range p.parts {
			_, _ = z.Write(part) // a buffer takes everything
		}
		_ = z.Close()
		p.zipped = b.Bytes()
	})
	return p.zipped
}
