package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// storageRig is a cluster with Ceph, and what its API is compared with.
type storageRig struct {
	api *apiServer
	*baseline
}

// startStorage brings up three hosts, each with an OSD and a ZooKeeper server that syncs
// its log, and the baseline on the host that executes the commands.
func startStorage(b *testing.B) *storageRig {
	b.Helper()
	if os.Getuid() != 0 {
		b.Skip("hosts are namespaces: root is needed")
	}
	if missing := append(host.MissingTools(), ceph.Missing()); len(missing) > 1 || missing[0] != "" {
		b.Skip("missing programs:", missing)
	}
	b.Log(machine())
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, err := testbed.Up(ctx, testbed.Options{Prefix: "bs", Binaries: binaries(b), FSync: true, Storage: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Down(context.Background()); err != nil {
			b.Error(err)
		}
	})
	at, err := c.API(ctx)
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	b.Cleanup(client.CloseIdleConnections)
	r := &storageRig{api: &apiServer{addr: strings.TrimPrefix(at.URL, "http://"), token: at.Token, client: client}}
	for _, h := range c.Hosts() {
		if h.Name == at.Node {
			r.baseline = startBaseline(b, h)
		}
	}
	return r
}

// pool makes a pool and waits until there is nothing to be done about it any more.
func (r *storageRig) pool(b *testing.B, name string) {
	b.Helper()
	r.api.must(b, http.MethodPost, storagePath+"/pool", url.Values{"pool": {name}, "pgs": {"16"}})
	r.api.get(b, storagePath+"/status")
}

const storagePath = "/api/v1/storage/ceph"

// request is a call of the API, its values as name=value.
func request(method, path string, values ...string) apiRequest {
	form := url.Values{}
	for _, v := range values {
		name, value, _ := strings.Cut(v, "=")
		form.Set(name, value)
	}
	return apiRequest{method, storagePath + path, form}
}

type apiRequest struct {
	method, path string
	values       url.Values
}

// do makes requests, each of its own client, and returns the time until all are answered.
func (a *apiServer) do(requests ...apiRequest) (time.Duration, error) {
	var g errgroup.Group
	began := time.Now()
	for _, r := range requests {
		g.Go(func() error {
			status, body, err := a.call(r.method, r.path, r.values)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("%s %s: %d %.300s", r.method, r.path, status, body)
			}
			return err
		})
	}
	err := g.Wait()
	return time.Since(began), err
}

// step is something that the baseline does: see its program.
type step struct {
	Call string   `json:"call,omitempty"`
	Args []string `json:"args"`
	Tool []string `json:"tool,omitempty"`
}

// direct is a call of go-ceph.
func direct(name string, args ...string) step { return step{Call: name, Args: args} }

// tool is a program of Ceph with its arguments, in one string.
func tool(line string) step { return step{Tool: strings.Fields(line)} }

// baseline is the running program of that name.
type baseline struct {
	mu      sync.Mutex
	in      *json.Encoder
	answers *json.Decoder
}

const baselinePackage = "github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/rados/baseline"

func startBaseline(b *testing.B, h *host.Host) *baseline {
	b.Helper()
	program := filepath.Join(binaries(b), "baseline")
	if out, err := exec.Command("go", "build", "-o", program, baselinePackage).CombinedOutput(); err != nil {
		b.Fatalf("build the baseline: %v: %s", err, out)
	}
	cmd, err := h.Command(context.Background(), program)
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close() // ends it
		if err := cmd.Wait(); err != nil {
			b.Error("the baseline: ", err)
		}
	})
	return newBaseline(in, out)
}

func newBaseline(in io.Writer, out io.Reader) *baseline {
	return &baseline{in: json.NewEncoder(in), answers: json.NewDecoder(out)}
}

// all has steps carried out at once and returns the time that this took there.
func (p *baseline) all(steps ...step) (time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.in.Encode(steps); err != nil {
		return 0, fmt.Errorf("ask the baseline: %w", err)
	}
	var a struct {
		Took  time.Duration
		Error string
	}
	if err := p.answers.Decode(&a); err != nil {
		return 0, fmt.Errorf("the baseline does not answer: %w", err)
	}
	if a.Error != "" {
		return 0, fmt.Errorf("baseline: %s", a.Error)
	}
	return a.Took, nil
}
