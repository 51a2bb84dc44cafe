package liveness

import (
	"context"
	"encoding/json"
	"log/slog"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// Guests are the running guests of the host.
type Guests struct {
	UUIDs  []string
	MemMiB int // current memory of all of them
	VCPUs  int
}

const (
	// figuresEvery is the time between two looks at the host, and between two writes
	// of figures that move all the time.
	figuresEvery = 10 * time.Second
	// guestsEvery is the shortest time between two writes because of a changed guest.
	guestsEvery = time.Second
	// sourceTimeout bounds the question for guests or facts.
	sourceTimeout = 30 * time.Second
)

// figures publishes what the node measures about itself.
type figures struct {
	guests func(ctx context.Context) (Guests, error)
	facts  func(ctx context.Context) (model.NodeFacts, error)
	host   func() (memory, string, error)
	log    *slog.Logger
	wake   chan struct{}
	silent map[string]bool // sources that failed at the last look, already logged
}

func newFigures(o Options) *figures {
	return &figures{
		guests: o.Guests, facts: o.Facts, host: readHostFigures, log: o.Logger,
		wake: make(chan struct{}, 1), silent: map[string]bool{},
	}
}

func (f *figures) kick() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends.
func (f *figures) run(ctx context.Context, s *Session) {
	published := map[string]string{}
	for {
		began := time.Now()
		if changed := changedValues(published, f.collect(ctx)); len(changed) > 0 && ctx.Err() == nil {
			f.publish(ctx, s, changed, published)
		}
		select { // not more often than this, whatever happens
		case <-ctx.Done():
			return
		case <-time.After(time.Until(began.Add(guestsEvery))):
		}
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-time.After(time.Until(began.Add(figuresEvery))):
		}
	}
}

// collect asks the sources; what a failing one would tell is left as it was.
func (f *figures) collect(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	values := map[string]string{}
	mem, load, err := f.host()
	if f.works("host", err) {
		values[schema.NodeMemTotal] = strconv.Itoa(mem.Total)
		values[schema.NodeMemUsed] = strconv.Itoa(mem.Used)
		values[schema.NodeMemFree] = strconv.Itoa(mem.Free)
		values[schema.NodeCPULoad] = load
	}
	if f.guests != nil {
		if g, err := f.guests(ctx); f.works("guests", err) {
			guestValues(values, g)
		}
	}
	if f.facts != nil {
		if facts, err := f.facts(ctx); f.works("facts", err) {
			data, _ := json.Marshal(facts) // cannot fail: strings and booleans
			values[schema.NodeFacts] = string(data)
		}
	}
	return values
}

func guestValues(values map[string]string, g Guests) {
	uuids := append([]string(nil), g.UUIDs...)
	sort.Strings(uuids)
	values[schema.NodeRunningDomains] = strings.Join(uuids, " ")
	values[schema.NodeDomainsCount] = strconv.Itoa(len(uuids))
	values[schema.NodeMemAlloc] = strconv.Itoa(g.MemMiB)
	values[schema.NodeVCPUAlloc] = strconv.Itoa(g.VCPUs)
}

// works reports whether the source has answered, and logs when that changes.
func (f *figures) works(source string, err error) bool {
	if err != nil && !f.silent[source] {
		f.log.Warn("figures of the node cannot be read, the last ones stand", "source", source, "err", err)
	}
	f.silent[source] = err != nil
	return err == nil
}

// changedValues returns what has to be written.
func changedValues(published, now map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range now {
		if old, there := published[key]; !there || old != value {
			out[key] = value
		}
	}
	return out
}

// publish writes the changed values in one transaction.
func (f *figures) publish(ctx context.Context, s *Session, changed, published map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	keys := make([]string, 0, len(changed))
	for key := range changed {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	var txn coord.Txn
	s.Check(&txn)
	for _, key := range keys {
		txn.Set(schema.Node(s.Node(), key), []byte(changed[key]), coord.AnyVersion)
	}
	_, err := s.Client().Commit(ctx, txn)
	if !f.works("ZooKeeper", err) {
		return // the next look writes them again
	}
	for key, value := range changed {
		published[key] = value
	}
}
