package console

import "context"

// Round is one look at all guests.
func (m *Manager) Round(ctx context.Context) { m.round(ctx) }

// Following reports whether a VM is followed.
func (m *Manager) Following(uuid string) bool { return m.find(uuid) != nil }

var (
	Clean   = clean
	Limit   = limit
	AddLine = addLine
)
