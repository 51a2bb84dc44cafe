package ensemble

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

const servingText = "Zookeeper version: 3.8.0\nLatency min/avg/max: 0/0.0/0\nMode: follower\nNode count: 5\n"
const idleText = "This ZooKeeper instance is not currently serving requests\n"

func TestOnlyAMajorityThatSaysSoIsAnOutage(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []Answer
		want    Verdict
	}{
		"no servers":                 {nil, CutOff},
		"one idle":                   {[]Answer{Idle}, Outage},
		"one silent":                 {[]Answer{Silent}, CutOff},
		"all idle":                   {[]Answer{Idle, Idle, Idle}, Outage},
		"two of three idle":          {[]Answer{Idle, Silent, Idle}, Outage},
		"one of three idle":          {[]Answer{Idle, Silent, Silent}, CutOff},
		"half is no majority":        {[]Answer{Idle, Idle, Silent, Silent}, CutOff},
		"one serves beside two idle": {[]Answer{Idle, Idle, Serving}, Available},
		"one serves beside silence":  {[]Answer{Silent, Serving, Silent}, Available},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Judge(tc.answers); got != tc.want {
				t.Errorf("Judge = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestOnlyKnownAnswersCountAsTestimony(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		err  error
		want Answer
	}{
		"follower":         {servingText, nil, Serving},
		"standalone":       {"Mode: standalone\n", nil, Serving},
		"no quorum":        {idleText, nil, Idle},
		"closed at once":   {"", nil, Idle},
		"not allowed":      {"srvr is not executed because it is not in the whitelist.\n", nil, Silent},
		"another service":  {"HTTP/1.1 400 Bad Request\r\n", nil, Silent},
		"half an answer":   {"Zookeeper version: 3.8.0\n", io.ErrUnexpectedEOF, Silent},
		"a broken network": {"", errors.New("i/o timeout"), Silent},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parse(tc.text, tc.err); got != tc.want {
				t.Errorf("parse = %v, want %v", got, tc.want)
			}
		})
	}
}

// answering is a server that gives the text to whoever asks, nothing at all if it is "".
func answering(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if text == "" {
		return l.Addr().String() // the kernel accepts, nobody answers
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
				_, _ = io.WriteString(c, text)
			}
			c.Close()
		}
	}()
	return l.Addr().String()
}

func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestAServerThatHangsIsNoTestimony(t *testing.T) {
	for name, tc := range map[string]struct {
		servers []string
		want    Verdict
	}{
		"killed servers":       {[]string{refusing(t), refusing(t), answering(t, idleText)}, Outage},
		"hung servers":         {[]string{answering(t, ""), answering(t, ""), refusing(t)}, CutOff},
		"one serves, one hung": {[]string{answering(t, ""), answering(t, servingText), refusing(t)}, Available},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if got := Ask(ctx, tc.servers); got != tc.want {
				t.Errorf("Ask = %v, want %v", got, tc.want)
			}
		})
	}
}
