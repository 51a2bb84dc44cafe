package ensemble

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Answer is what one server says.
type Answer uint8

// The answers.
const (
	// Silent: nothing came back in time.
	Silent Answer = iota
	// Idle: the server says that it serves no requests, or its host says that no
	// server is running (the connection is refused).
	Idle
	// Serving: the server is part of a working ensemble.
	Serving
)

// Verdict is what the answers of all servers mean to the one who asked.
type Verdict uint8

// The verdicts.
const (
	// CutOff: a majority cannot be reached; the others may well go on without us.
	CutOff Verdict = iota
	// Outage: a majority answers and none serves: nobody can be elected or fence.
	Outage
	// Available: at least one server serves.
	Available
)

var verdictNames = [...]string{"cut off", "outage", "available"}

// String names the verdict for logs.
func (v Verdict) String() string { return verdictNames[v] }

// maxAnswer bounds what is read of an answer, bytes.
const maxAnswer = 16 << 10

// Ask asks every server (host:port) with the four-letter word srvr, all at once, and
// returns when one serves, all have answered or ctx ends.
func Ask(ctx context.Context, servers []string) Verdict {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make([]Answer, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() {
			if answers[i] = ask(ctx, s); answers[i] == Serving {
				cancel()
			}
		})
	}
	wg.Wait()
	return Judge(answers)
}

// Judge turns the answers of all servers of an ensemble into a verdict.
func Judge(answers []Answer) Verdict {
	idle := 0
	for _, a := range answers {
		switch a {
		case Serving:
			return Available
		case Idle:
			idle++
		}
	}
	if idle > len(answers)/2 {
		return Outage
	}
	return CutOff
}

func ask(ctx context.Context, server string) Answer {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", server)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return Idle
	}
	if err != nil {
		return Silent
	}
	defer c.Close()
	if t, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(t) // a closed connection fails in the next call
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(c, "srvr\n"); err != nil {
		return Silent
	}
	text, err := io.ReadAll(io.LimitReader(c, maxAnswer))
	return parse(string(text), err)
}

// parse reads the answer to srvr. A running server prints its mode; one without a
// quorum a sentence; a server on its way down closes the connection.
func parse(text string, err error) Answer {
	for line := range strings.Lines(text) {
		if mode, ok := strings.CutPrefix(strings.TrimSpace(line), "Mode: "); ok && mode != "" {
			return Serving
		}
	}
	if strings.Contains(text, "not currently serving requests") {
		return Idle
	}
	if err == nil && text == "" || errors.Is(err, syscall.ECONNRESET) {
		return Idle
	}
	// Anything else (the word is not on the server's whitelist, it is no ZooKeeper) is
	// no testimony that nobody serves.
	return Silent
}
