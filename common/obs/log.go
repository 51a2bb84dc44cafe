package obs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/config"
)

// LogOptions say where a log goes. Without File and Stdout there is none.
type LogOptions struct {
	File   string    // path; empty: no file
	Stdout io.Writer // nil: no standard output
	// NoDates leaves times out on standard output; a file always has them.
	NoDates bool
	Debug   bool // also what only helps to find faults
}

// Log is a logger whose file can be opened again.
type Log struct {
	*slog.Logger
	file *logFile // nil if there is none
}

// NewLog opens the log. The directory of the file is made if it does not exist.
func NewLog(o LogOptions) (*Log, error) {
	level := slog.LevelInfo
	if o.Debug {
		level = slog.LevelDebug
	}
	l := &Log{}
	var handlers []slog.Handler
	if o.Stdout != nil {
		opts := &slog.HandlerOptions{Level: level}
		if o.NoDates {
			opts.ReplaceAttr = dropTime
		}
		handlers = append(handlers, slog.NewTextHandler(o.Stdout, opts))
	}
	if o.File != "" {
		l.file = &logFile{path: o.File}
		if err := l.file.reopen(); err != nil {
			return nil, err
		}
		handlers = append(handlers, slog.NewTextHandler(l.file, &slog.HandlerOptions{Level: level}))
	}
	l.Logger = slog.New(slog.NewMultiHandler(handlers...))
	return l, nil
}

// NodeLog is the log of pvcd as its configuration wants it; the file is pvcd.log in
// the log directory.
func NodeLog(c *config.Node, stdout io.Writer) (*Log, error) {
	o := LogOptions{NoDates: !c.Logging.Dates, Debug: c.Debug}
	if c.Logging.Stdout {
		o.Stdout = stdout
	}
	if c.Logging.File {
		o.File = filepath.Join(c.Dirs.Log, "pvcd.log")
	}
	return NewLog(o)
}

// APILog is the log of pvc-api, on standard output.
func APILog(c *config.API, stdout io.Writer) (*Log, error) {
	return NewLog(LogOptions{Stdout: stdout, Debug: c.Debug})
}

// Reopen opens the file again under its name, after it was rotated. If that fails the
// old one stays in use.
func (l *Log) Reopen() error {
	if l.file == nil {
		return nil
	}
	return l.file.reopen()
}

// Close ends the file; what is logged later still goes to standard output.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.close()
}

func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// logFile is a file that can be exchanged between two writes.
type logFile struct {
	path string
	mu   sync.Mutex
	f    *os.File
}

// Write implements io.Writer.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return 0, fs.ErrClosed
	}
	return l.f.Write(p)
}

func (l *logFile) reopen() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o750); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.mu.Lock()
	old := l.f
	l.f = f
	l.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return errors.New("close log: closed before")
	}
	f := l.f
	l.f = nil
	return f.Close()
}
