package console

import "context"

// Round is one look at all guests.
func (m *Manager) Round(ctx context.Context) { m.round(ctx) }

// Read reads the first byte of a file that was another when it was looked at.
func Read(path string) ([]byte, error) { return read(path, file{inode: 1}, 0, 1) }

// Following reports whether a VM is followed.
func (m *Manager) Following(uuid string) bool { return m.find(uuid) != nil }

var (
	Clean   = clean
	Limit   = limit
	AddLine = addLine

	Cuttable = cuttable
)
