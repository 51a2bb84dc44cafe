// Package follow opens the API's listener only where the primary is. It has a small
// session of its own, on which the znode schema.PrimaryListener lives: as long as one
// API has it no other can open its listener, whoever the primary is by then. The
// listener is closed before the znode goes, and as soon as the session's lease runs
// out, so that there are never two.
package follow
