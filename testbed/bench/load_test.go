package bench

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// requestText is a request of a client that keeps its connection.
func requestText(addr, path, token string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\n\r\n", path, addr, token)
}

// drive sends one request again and again over several connections and returns how many
// answers came per second. It does next to nothing itself, because it shares the
// processors with what it measures: net/http's client costs more than its server.
func drive(addr string, request []byte, connections int, d time.Duration) (perSecond float64, err error) {
	var done atomic.Int64
	var g errgroup.Group
	began := time.Now()
	for range connections {
		g.Go(func() error {
			n, err := driveOne(addr, request, began.Add(d))
			done.Add(n)
			return err
		})
	}
	err = g.Wait()
	return float64(done.Load()) / time.Since(began).Seconds(), err
}

func driveOne(addr string, request []byte, until time.Time) (n int64, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 256<<10)
	for time.Now().Before(until) {
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return n, err
		}
		if _, err := conn.Write(request); err != nil {
			return n, err
		}
		if err := skipAnswer(r); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// skipAnswer reads an answer with status 200 and a Content-Length.
func skipAnswer(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if first && !strings.HasPrefix(text, "HTTP/1.1 200 ") {
			return fmt.Errorf("answer %q", text)
		}
		if text == "" {
			break
		}
		if v, ok := strings.CutPrefix(text, "Content-Length: "); ok {
			if length, err = strconv.Atoi(v); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("answer without a length")
	}
	_, err := r.Discard(length)
	return err
}

func TestDriveCountsWholeAnswersOnly(t *testing.T) {
	var served atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		served.Add(1)
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, strings.Repeat("x", 100000))
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	began := time.Now()
	rate, err := drive(addr, requestText(addr, "/", "secret"), 3, 50*time.Millisecond)
	most := float64(served.Load()) / 0.05
	if err != nil || rate <= 0 || rate > most {
		t.Errorf("%v requests per second, %v after %v; at most %v were served", rate, err, time.Since(began), most)
	}
	if _, err := drive(addr, requestText(addr, "/", "wrong"), 1, 50*time.Millisecond); err == nil {
		t.Error("an answer other than 200 counts")
	}
}
