// Package lease says for how long a daemon may still believe in its session without
// asking. It is counted on the monotonic clock from the sending of the last answered
// request, for the negotiated timeout less a margin; see DESIGN.md for what the
// margin has to cover.
package lease
