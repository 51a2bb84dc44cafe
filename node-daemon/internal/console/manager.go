package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

const (
	// requestTimeout bounds one request to the store.
	requestTimeout = 5 * time.Second
	// parallel is how many logs are written at the same time.
	parallel = 8
	// attempts is how often a change is made anew after somebody else's.
	attempts = 3
)

// Options of a Manager. Zero values mean the defaults.
type Options struct {
	Dir         string        // of the console files
	Lines       int           // kept per guest; 1000
	MaxBytes    int           // kept per guest; 256 KiB, the most that fits a znode well
	RotateBytes int64         // on disk per guest, beyond which a file is cut; 16 MiB
	Node        string        // this host
	BootID      string        // of this host: what was written before a power cut may be lost
	Interval    time.Duration // between two looks at the files; 1 s
	Store       Store
	Logger      *slog.Logger
}

// Guest is a guest of this host whose output is kept.
type Guest struct {
	UUID string
	Name string
	// Run identifies this run of the guest on this host; never empty, never used again.
	Run string
	// Begin is where in the file its output begins, bytes, for the time until a position
	// of this run is stored.
	Begin int64
}

// Manager follows the console files of this host's guests.
type Manager struct {
	o Options

	mu        sync.Mutex
	followers map[string]*follower // by UUID
}

// New returns a Manager that follows nobody yet.
func New(o Options) *Manager {
	o.Lines = defaultTo(o.Lines, 1000)
	o.MaxBytes = defaultTo(o.MaxBytes, 256<<10)
	o.RotateBytes = defaultTo(o.RotateBytes, 16<<20)
	o.Interval = defaultTo(o.Interval, time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Manager{o: o, followers: map[string]*follower{}}
}

func defaultTo[T int | int64 | time.Duration](value, fallback T) T {
	if value <= 0 {
		return fallback
	}
	return value
}

// Run keeps the logs of all guests that are followed until ctx ends. The logs are
// then complete up to the last look; whoever follows the guests next goes on there.
func (m *Manager) Run(ctx context.Context) error {
	// Counted from the end of a round, so that no log is written twice within an interval.
	timer := time.NewTimer(m.o.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		m.round(ctx)
		timer.Reset(m.o.Interval)
	}
}

// round looks at every guest once.
func (m *Manager) round(ctx context.Context) {
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for _, f := range m.all() {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			m.tick(ctx, f)
		})
	}
	wg.Wait()
}

func (m *Manager) tick(ctx context.Context, f *follower) {
	if !f.mu.TryLock() {
		return // Finish or Mark is at it and may be waiting for ZooKeeper
	}
	defer f.mu.Unlock()
	err := m.step(ctx, f)
	if errors.Is(err, errTaken) {
		m.drop(f)
		m.o.Logger.Info("another host keeps the console log now", "vm", f.guest.Name)
		return
	}
	m.report(f, err)
}

// Follow begins to keep a guest's log; it does nothing if this run is followed. A guest
// is followed from when it is this host's, thus a migrated one only when the source is
// done with it. Call it again whenever the guest is looked at: a log that was taken
// away by mistake is taken up again.
func (m *Manager) Follow(g Guest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.followers[g.UUID]; f != nil {
		if f.guest.Run == g.Run {
			return
		}
		f.dropped.Store(true)
	}
	m.followers[g.UUID] = &follower{guest: g, rotateAt: m.o.RotateBytes}
}

// Finish writes the rest of a guest's output and ends following it; the guest's process
// is gone and its claim not released or handed over yet. It does nothing if the guest
// is not followed. An error means that the records cannot be written now: the guest
// is still followed, call again. A file that cannot be read is logged, not returned.
func (m *Manager) Finish(ctx context.Context, uuid string) error {
	f := m.find(uuid)
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err := m.step(ctx, f)
	if err == nil && f.settle {
		err = m.step(ctx, f)
	}
	if isPassing(err) {
		return fmt.Errorf("finish the console log of %s: %w", f.guest.Name, err)
	}
	m.drop(f)
	if !errors.Is(err, errTaken) && !errs.Is(err, errs.NotFound) {
		m.report(f, err)
	}
	return nil
}

// Mark appends a line of ours to a VM's log, whether or not the VM is followed. Errors
// are those of the store.
func (m *Manager) Mark(ctx context.Context, uuid, line string) error {
	f := m.find(uuid)
	if f == nil {
		f = &follower{guest: Guest{UUID: uuid}}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = nil
	for attempt := 1; ; attempt++ {
		err := m.mark(ctx, uuid, line)
		if err == nil {
			return nil
		}
		if attempt == attempts || !errs.Is(err, errs.Conflict) {
			return fmt.Errorf("mark the console log of %s: %w", uuid, err)
		}
	}
}

func (m *Manager) mark(ctx context.Context, uuid, line string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, err := m.o.Store.Load(ctx, uuid)
	if err != nil {
		return err
	}
	text := addLine(valid(s.Text), s.At.Tail, line)
	s.Text, s.At.Tail = string(limit(text, m.o.Lines, m.o.MaxBytes)), nil
	_, err = m.o.Store.Save(ctx, uuid, s)
	return err
}

func valid(text string) []byte { return []byte(strings.ToValidUTF8(text, "\uFFFD")) }

// Size returns the present size of a VM's console file in bytes, 0 if there is none or
// it cannot be told.
func (m *Manager) Size(name string) int64 {
	path, err := m.path(name)
	if err != nil {
		return 0
	}
	now, err := look(path)
	if err != nil {
		return 0
	}
	return now.size
}

// Path returns where QEMU is to write a VM's console, empty if the name is not one of
// a VM.
func (m *Manager) Path(name string) string {
	path, err := m.path(name)
	if err != nil {
		return ""
	}
	return path
}

func (m *Manager) path(name string) (string, error) {
	if err := model.CheckVMName(name); err != nil {
		return "", err
	}
	return filepath.Join(m.o.Dir, name+".log"), nil
}

func (m *Manager) find(uuid string) *follower {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.followers[uuid]
}

func (m *Manager) all() []*follower {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*follower, 0, len(m.followers))
	for _, f := range m.followers {
		list = append(list, f)
	}
	return list
}

func (m *Manager) drop(f *follower) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.dropped.Store(true)
	if m.followers[f.guest.UUID] == f {
		delete(m.followers, f.guest.UUID)
	}
}
