package ensemble

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Mode is what a server says of its part in the ensemble.
type Mode string

// The parts a server can play. None means that it does not answer, or answers
// that it is not serving requests (no quorum).
const (
	None       Mode = ""
	Standalone Mode = "standalone"
	Leader     Mode = "leader"
	Follower   Mode = "follower"
)

// Ask sends a four-letter word to the server at addr and returns its answer.
func Ask(ctx context.Context, addr, word string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("ask ZooKeeper server %s for %s: %w", addr, word, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := io.WriteString(conn, word); err != nil {
		return "", fmt.Errorf("ask ZooKeeper server %s for %s: %w", addr, word, err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", fmt.Errorf("ask ZooKeeper server %s for %s: %w", addr, word, err)
	}
	return string(answer), nil
}

// ModeOf asks the server at addr for its mode; a second without an answer is None.
func ModeOf(ctx context.Context, addr string) Mode {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer, err := Ask(ctx, addr, "srvr")
	if err != nil {
		return None
	}
	return parseMode(answer)
}

func parseMode(srvr string) Mode {
	for line := range strings.Lines(srvr) {
		if mode, ok := strings.CutPrefix(line, "Mode:"); ok {
			return Mode(strings.TrimSpace(mode))
		}
	}
	return None
}
