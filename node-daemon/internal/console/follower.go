package console

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// errTaken says that a later run of the guest has written to the log.
var errTaken = errors.New("the console log belongs to another run of the guest")

// follower is what is known of one run's log.
type follower struct {
	guest   Guest
	dropped atomic.Bool

	mu sync.Mutex // held while the file is read or the log is written

	// log is the stored log as of our last request; nil if it has to be loaded.
	log *Saved
	// before is the run that was found when the log was first loaded. It may still write
	// its last; one that is neither before nor this came later.
	before *string
	// settle is set when the position has to be written though nothing came.
	settle bool
	// rotateAt is how large on disk the file may become until it is cut.
	rotateAt int64
	// complaint is the error that was logged last, empty if it has passed.
	complaint string
}

// step brings the log up to the present end of the file. f.mu is held.
func (m *Manager) step(ctx context.Context, f *follower) error {
	path, err := m.path(f.guest.Name)
	if err != nil {
		return err
	}
	if f.guest.Run == "" {
		return errs.Invalidf("the run of the guest %s has no name", f.guest.Name)
	}
	for range attempts {
		var now file
		if now, err = look(path); err != nil {
			return err
		}
		if err = m.update(ctx, f, path, now); !errs.Is(err, errs.Conflict) {
			return err
		}
	}
	return err
}

// update takes what is new in the file into the log.
func (m *Manager) update(ctx context.Context, f *follower, path string, now file) error {
	if err := m.load(ctx, f); err != nil {
		return err
	}
	at := f.resume(m.o.Node, m.o.BootID, now)
	if now.inode == 0 || now.size == at.Offset && !f.settle {
		if f.owned() {
			f.log.At = at
		}
		return nil
	}
	next, err := m.take(*f.log, at, path, now)
	if err != nil {
		return err
	}
	if now.allocated > f.rotateAt {
		next.At.Cut = cuttable(next.At.Offset)
	}
	if err := m.save(ctx, f, next); err != nil {
		return err
	}
	f.settle = false
	if next.At.Cut > 0 {
		m.rotate(f, path, now)
	}
	return nil
}

// owned reports whether the stored position is of this run.
func (f *follower) owned() bool { return f.log.At.Run == f.guest.Run }

// load gets the stored log if it is not known. That it has changed since, Save says.
func (m *Manager) load(ctx context.Context, f *follower) error {
	if f.log != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, err := m.o.Store.Load(ctx, f.guest.UUID)
	if err != nil {
		return err
	}
	run := s.At.Run
	if f.before == nil {
		f.before = &run
	}
	if run != f.guest.Run && run != *f.before {
		return errTaken
	}
	f.log = &s
	f.settle = f.settle || s.At.Cut > 0
	return nil
}

// resume says from where the file is to be read.
func (f *follower) resume(node, boot string, now file) Position {
	stored := f.log.At
	at := Position{Node: node, Boot: boot, Run: f.guest.Run, Offset: f.guest.Begin, Inode: now.inode, Tail: stored.Tail}
	offset := stored.Offset
	if stored.Cut > 0 && now.size < offset {
		offset = max(offset-stored.Cut, 0)
	}
	sameFile := stored.Node == node && stored.Inode == now.inode
	switch {
	case f.owned() && sameFile:
		at.Offset = offset
	case f.owned():
		at.Offset = 0 // another file has taken its place
	case sameFile && offset < at.Offset:
		// The run before was on this host too, and its last output has not been read.
		at.Offset = offset
	}
	switch {
	case at.Offset <= now.size:
	case f.owned() && stored.Boot != boot:
		at.Offset = now.size // the power cut took an end of the file that the text has
	default:
		at.Offset = 0 // somebody has truncated the file
	}
	return at
}

// take appends what is new in the file to the text.
func (m *Manager) take(log Saved, at Position, path string, now file) (Saved, error) {
	if skipped := now.size - at.Offset - int64(m.o.MaxBytes); skipped > 0 {
		return m.takeEnd(log, at, path, now, skipped)
	}
	raw, err := read(path, now, at.Offset, now.size)
	if err != nil {
		return Saved{}, err
	}
	at.Offset += int64(len(raw))
	text, tail := clean(valid(log.Text), slices.Concat(at.Tail, raw))
	at.Tail = tail
	return Saved{Text: string(limit(text, m.o.Lines, m.o.MaxBytes)), At: at, Rev: log.Rev}, nil
}

// takeEnd is take when more has come than the text can hold. The line that says so
// stays in the text.
func (m *Manager) takeEnd(log Saved, at Position, path string, now file, skipped int64) (Saved, error) {
	from := at.Offset + skipped
	raw, err := read(path, now, from, now.size)
	if err != nil {
		return Saved{}, err
	}
	torn := 0 // bytes of a character whose beginning was skipped
	for torn < len(raw) && torn < utf8.UTFMax-1 && !utf8.RuneStart(raw[torn]) {
		torn++
	}
	notice := skipNotice(skipped + int64(torn))
	text := addLine(valid(log.Text), at.Tail, notice)
	body, tail := clean(nil, raw[torn:])
	body = limit(body, m.o.Lines-1, max(m.o.MaxBytes-len(notice)-1, 0))
	at.Offset, at.Tail = from+int64(len(raw)), tail
	return Saved{Text: string(limit(append(text, body...), m.o.Lines, m.o.MaxBytes)), At: at, Rev: log.Rev}, nil
}

// save stores the log. After a failure nothing is assumed about what is stored.
func (m *Manager) save(ctx context.Context, f *follower, next Saved) error {
	if f.dropped.Load() {
		return errTaken
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	saved, err := m.o.Store.Save(ctx, f.guest.UUID, next)
	if err != nil {
		f.log = nil
		return err
	}
	f.log = &saved
	return nil
}

// rotate cuts the beginning of the file, which the stored position announces. A failure
// is no reason not to keep the log; it is tried again when the file has grown further.
func (m *Manager) rotate(f *follower, path string, now file) {
	at := &f.log.At
	n := at.Cut
	at.Cut, f.settle = 0, true
	shorter, err := cut(path, now, n)
	if err != nil {
		f.rotateAt = now.allocated + m.o.RotateBytes
		m.o.Logger.Warn("cannot cut a console file that has grown large", "vm", f.guest.Name, "err", err)
		return
	}
	f.rotateAt = max(now.allocated-n, 0) + m.o.RotateBytes
	if shorter {
		at.Offset -= n
	}
}

// isPassing reports whether an error ends by itself when the records can be written
// again.
func isPassing(err error) bool {
	return errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Unknown) || errs.Is(err, errs.Conflict)
}

// report logs that a log cannot be kept, once for as long as the reason is the same. That
// there is no connection to ZooKeeper others say.
func (m *Manager) report(f *follower, err error) {
	if isPassing(err) {
		m.o.Logger.Debug("the console log cannot be written now", "vm", f.guest.Name, "err", err)
		return
	}
	complaint := ""
	if err != nil {
		complaint = err.Error()
	}
	if complaint == f.complaint {
		return
	}
	f.complaint = complaint
	if err != nil {
		m.o.Logger.Warn("cannot keep the console log", "vm", f.guest.Name, "err", err)
	} else {
		m.o.Logger.Info("the console log is kept again", "vm", f.guest.Name)
	}
}
