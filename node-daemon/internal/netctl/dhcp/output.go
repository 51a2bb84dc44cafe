package dhcp

import (
	"bufio"
	"io"
	"os"
	"strings"
	"sync"
)

// maxLog bounds a log file in bytes; one older file of the same size is kept. A guest can
// make dnsmasq write as many lines as it likes.
const maxLog = 1 << 20

// output takes what a dnsmasq prints.
type output struct {
	path string

	mu   sync.Mutex
	line string // the last one
}

// copy writes what comes from r to the file until r ends, or fails. A file that cannot
// be written costs lines and nothing else: a full disk must not stop DHCP.
func (o *output) copy(r io.Reader) {
	f, size := o.open()
	lines := bufio.NewReaderSize(r, 4096)
	for {
		line, err := lines.ReadSlice('\n') // a line that is too long comes in pieces
		if len(line) > 0 {
			o.keep(line)
			if size += int64(len(line)); size > maxLog {
				f.Close()
				_ = os.Rename(o.path, o.path+".1")
				f, size = o.open()
			}
			_, _ = f.Write(line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			f.Close()
			return
		}
	}
}

// open returns the file, or one whose writes fail.
func (o *output) open() (*os.File, int64) {
	f, err := os.OpenFile(o.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, 0 // methods of a nil File return os.ErrInvalid
	}
	st, err := f.Stat()
	if err != nil {
		return f, 0
	}
	return f, st.Size()
}

func (o *output) keep(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := strings.TrimSpace(string(line)); s != "" {
		o.line = s
	}
}

func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.line
}
