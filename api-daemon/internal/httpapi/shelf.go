package httpapi

import (
	"bytes"
	"compress/gzip"
	"runtime"
	"sync"
	"sync/atomic"
)

// shelf keeps objects as prepared JSON, and the whole list of them. V is what an
// object is rendered from: while it is equal, the bytes are.
type shelf[V comparable] struct {
	mu    sync.Mutex
	items map[string]shelved[V]

	build sync.Mutex // held by the one who makes the next list
	list  atomic.Pointer[prepared]
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
	json       []byte
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
	p := &prepared{generation: generation}
	p.json = s.join(items, render)
	s.list.Store(p)
	return p
}

// join makes the list and then keeps the objects as parts of it, so that each is in
// memory once. What is not in the list is forgotten.
func (s *shelf[V]) join(items []item[V], render func(V) []byte) []byte {
	texts, size := s.texts(items, render)
	out := joinJSON(texts, size)
	kept := make(map[string]shelved[V], len(items))
	at := 1
	for i, it := range items {
		end := at + len(texts[i])
		kept[it.id] = shelved[V]{it.of, out[at:end:end]}
		at = end + 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = kept
	return out
}

// manyItems are shared among the processors: rendering thousands takes seconds.
const manyItems = 256

// texts returns the objects' JSON and the size of the list of them.
func (s *shelf[V]) texts(items []item[V], render func(V) []byte) (texts [][]byte, size int) {
	texts = make([][]byte, len(items))
	var next atomic.Int64
	work := func() {
		for {
			from := int(next.Add(manyItems)) - manyItems
			if from >= len(items) {
				return
			}
			for i := from; i < min(from+manyItems, len(items)); i++ {
				texts[i] = s.get(items[i].id, items[i].of, render)
			}
		}
	}
	var helpers sync.WaitGroup
	for range min(len(items)/manyItems, runtime.GOMAXPROCS(0)-1) {
		helpers.Go(work)
	}
	work()
	helpers.Wait()
	size = len("[]\n")
	for _, t := range texts {
		size += len(t) + 1
	}
	return texts, size
}

// joinJSON makes a JSON list of texts.
func joinJSON(texts [][]byte, size int) []byte {
	out := make([]byte, 0, size)
	out = append(out, '[')
	for i, t := range texts {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, t...)
	}
	return append(out, ']', '\n')
}

// some renders a part of the objects as a list.
func (s *shelf[V]) some(items []item[V], render func(V) []byte) []byte {
	texts, size := s.texts(items, render)
	return joinJSON(texts, size)
}

// gzip returns the list compressed; it is made once, when first asked for.
func (p *prepared) gzip() []byte {
	p.once.Do(func() {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // fails for an unknown level only
		_, _ = z.Write(p.json)                          // a buffer takes everything
		_ = z.Close()
		p.zipped = b.Bytes()
	})
	return p.zipped
}
