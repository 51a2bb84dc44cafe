package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/internal/proc"
)

// token is that of the API under test.
const token = "d5c1a7a0f0b94e6c8f1d2e3a4b5c6d7e"

// apiServer is a running pvc-api.
type apiServer struct {
	addr   string
	token  string
	pid    int
	client *http.Client
	// complete is the time from the start of the process until it had a complete view,
	// early the number of reads it refused with 503 before.
	complete time.Duration
	early    int
}

// startAPI starts the real program and returns when its view is complete.
func startAPI(b *testing.B, zookeeper []string) *apiServer {
	b.Helper()
	a := &apiServer{addr: freeAddr(b), token: token, client: &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	b.Cleanup(a.client.CloseIdleConnections)
	dir := b.TempDir()
	file := filepath.Join(dir, "pvc-api.yaml")
	if err := os.WriteFile(file, []byte(apiConfig(a.addr, zookeeper)), 0o600); err != nil {
		b.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "pvc-api.log"))
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(binaries(b), "pvc-api"), "--config", file)
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	if err := proc.StartTied(cmd); err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // the cleanup waits for it
		_ = cmd.Wait() // its log says why
		close(ended)
	}()
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		log.Close()
	})
	a.pid = cmd.Process.Pid
	if err := a.waitComplete(began, ended); err != nil {
		text, _ := os.ReadFile(log.Name())
		b.Fatalf("%v\n%s", err, text)
	}
	return a
}

func apiConfig(addr string, zookeeper []string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf(`pvc:
  node: bench
  coordinators: ["%s"]
  api:
    listen_address: %s
    listen_port: %s
    follow_primary: False
    authentication:
      enabled: True
      secret_key: 0123456789abcdef0123456789abcdef
      tokens:
        - description: bench
          token: %s
    ssl:
      enabled: False
`, strings.Join(zookeeper, `", "`), host, port, token)
}

// freeAddr is an address of the loopback network that nobody listens on.
func freeAddr(b *testing.B) string {
	b.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.%d.%d.%d:7370", 1+rand.IntN(254), 1+rand.IntN(254), 1+rand.IntN(254))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	b.Fatal("no free loopback address in 100 tries")
	return ""
}

// waitComplete asks for a VM until it is not refused. Every answer before has to be 503.
func (a *apiServer) waitComplete(began time.Time, ended <-chan struct{}) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for time.Since(began) < 2*time.Minute {
		status, body, err := a.call(http.MethodGet, "/api/v1/vm/none-of-this-name", nil)
		switch {
		case err == nil && status == http.StatusOK:
			a.complete = time.Since(began)
			return nil
		case err == nil && status != http.StatusServiceUnavailable:
			return fmt.Errorf("before its view was complete the API answered %d %s", status, body)
		case err == nil:
			a.early++
		}
		select {
		case <-ticker.C:
		case <-ended:
			return fmt.Errorf("pvc-api has ended")
		}
	}
	return fmt.Errorf("the view is not complete after two minutes")
}

// call makes a request with values as a form and returns the answer.
func (a *apiServer) call(method, path string, values url.Values) (int, []byte, error) {
	r, err := http.NewRequestWithContext(context.Background(), method, "http://"+a.addr+path, strings.NewReader(values.Encode()))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("X-Api-Key", a.token)
	r.Header.Set("Accept-Encoding", "identity")
	if len(values) > 0 {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, body, err
}

// get returns the body of an answer that has to be 200.
func (a *apiServer) get(b *testing.B, path string) []byte {
	b.Helper()
	status, body, err := a.call(http.MethodGet, path, nil)
	if err != nil || status != http.StatusOK {
		b.Fatalf("GET %s: %d %.200s %v", path, status, body, err)
	}
	return body
}

// setState asks for a state of a VM.
// errBusy is a 503: whether the state was set is not known, and setting it again is right.
var errBusy = errors.New("503")

func (a *apiServer) setState(name, state string) error {
	status, body, err := a.call(http.MethodPost, "/api/v1/vm/"+name+"/state", url.Values{"state": {state}})
	if err == nil && status == http.StatusServiceUnavailable {
		return fmt.Errorf("%s %s: %w %s", state, name, errBusy, bytes.TrimSpace(body))
	}
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s %s: %d %s", state, name, status, bytes.TrimSpace(body))
	}
	return err
}

// waitStates waits until so many VMs are in each state.
func (a *apiServer) waitStates(b *testing.B, want map[string]int) {
	b.Helper()
	waitFor(b, fmt.Sprintf("%v", want), func() (string, bool) {
		now := a.states(b)
		return fmt.Sprint(now), maps.Equal(now, want)
	})
}

// waitFor asks until it is so, for at most three minutes.
func waitFor(b *testing.B, what string, done func() (now string, ok bool)) {
	b.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for began := time.Now(); ; <-ticker.C {
		now, ok := done()
		if ok {
			return
		}
		if time.Since(began) > 3*time.Minute {
			b.Fatalf("waited three minutes for %s; now: %s", what, now)
		}
	}
}

// listedVM is what the benchmarks read of a VM.
type listedVM struct {
	State string `json:"state"`
	Node  string `json:"node"`
}

func (a *apiServer) vms(b *testing.B) (list []listedVM) {
	b.Helper()
	if err := json.Unmarshal(a.get(b, "/api/v1/vm"), &list); err != nil {
		b.Fatal(err)
	}
	return list
}

// states counts the VMs by state.
func (a *apiServer) states(b *testing.B) map[string]int {
	b.Helper()
	count := map[string]int{}
	for _, vm := range a.vms(b) {
		count[vm.State]++
	}
	return count
}
