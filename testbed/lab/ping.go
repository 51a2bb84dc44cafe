package lab

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Pinging is a guest that pings an address ten times a second.
type Pinging struct {
	Address string
	m       *Machine
	mark    string
}

// Pings begins to ping; the answers are in the guest's memory until end reads them.
func (m *Machine) Pings(t testing.TB, address string) *Pinging {
	t.Helper()
	p := &Pinging{address, m, fmt.Sprintf("/tmp/ping-%d", commands.Add(1))}
	m.Run(t, fmt.Sprintf("ping -i 0.1 %s > %s 2>&1 & echo $! > %s.pid", address, p.mark, p.mark))
	Within(t, m.lab.Deadline, "a first answer of "+address, func() error {
		if out, _ := m.Run(t, "grep -c seq= "+p.mark); !regexp.MustCompile(`(?m)^[1-9]`).MatchString(out) {
			return errors.New("none")
		}
		return nil
	})
	return p
}

// End stops it and returns how many were sent, and the longest time without an answer.
func (p *Pinging) End(t testing.TB) (sent int, gap time.Duration) {
	t.Helper()
	p.m.Run(t, fmt.Sprintf("kill -INT $(cat %s.pid); sleep 1", p.mark))
	out, _ := p.m.Run(t, fmt.Sprintf("sed -n 's/.*seq=\\([0-9]*\\).*/<\\1>/p' %s | tr '\\n' ' '; tail -2 %s", p.mark, p.mark))
	found := regexp.MustCompile(`(\d+) packets transmitted`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("ping says %q", out)
	}
	sent, _ = strconv.Atoi(found[1])
	var answered []int
	for _, seq := range regexp.MustCompile(`<(\d+)>`).FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(seq[1])
		answered = append(answered, n)
	}
	slices.Sort(answered)
	last, longest := 0, 0
	for _, n := range append(answered, sent-1) {
		longest = max(longest, n-last-1)
		last = n
	}
	return sent, time.Duration(longest) * 100 * time.Millisecond
}
