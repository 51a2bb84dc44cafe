package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
)

// Names of the guests.
const (
	tiny  = "tiny"
	linux = "debian"
	web   = "web" // another Linux, with an address that is kept for it
)

// The network of the Linux guests.
const (
	vni        = "100"
	network    = "office"
	gateway    = "10.100.0.1"
	webMAC     = "52:54:00:00:64:0a"
	webAddress = "10.100.0.10"
)

// stepDeadline bounds each wait: a guest that does not heed its shutdown takes 90 s.
const stepDeadline = 2 * time.Minute

// show is a demonstration under way.
type show struct {
	cluster *testbed.Cluster
	api     testbed.API
	out     io.Writer
	counter int    // last number seen on the tiny guest's console
	written int    // last record that the Linux guest has told of
	boot    string // boot id of its kernel
}

// Run shows the main job on a fresh cluster of at least two hosts and leaves the
// cluster running, with the tiny guest on it.
func Run(ctx context.Context, c *testbed.Cluster, out io.Writer) error {
	s := &show{cluster: c, out: out}
	for _, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"Guests to run: a tiny kernel that counts seconds, and Linux", s.makeGuests},
		{"The cluster, as its HTTP API shows it", s.lookAround},
		{"A virtual network with DHCP, and an address that is kept for a guest", s.network},
		{"A pool in the Ceph cluster, and a volume in it", s.makeVolume},
		{"Define the guests, on different hosts; the disk of one is the volume", s.define},
		{"Start them", s.start},
		{"Their serial consoles", s.consoles},
		{"The guest writes to its volume: a snapshot meanwhile, and more space, which it sees", s.snapshotAndGrow},
		{"What Ceph says of itself", s.storageStatus},
		{"Live migration: the tiny guest goes to another host and keeps counting", s.migrate},
		{"The two Linux guests, on two hosts, have addresses and reach each other", s.connected},
		{"Live migration of the guest that writes", s.moveWriter},
		{"Flush a host: its guests go elsewhere", s.flush},
		{"The host is ready again: its guests come home", s.ready},
		{"Shut a guest down", s.shutDown},
	} {
		fmt.Fprintf(out, "\n=== %s\n", step.title)
		ctx, cancel := context.WithTimeout(ctx, stepDeadline)
		err := step.run(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("demo, step %q: %w\nlogs of the hosts: %s", step.title, err, c.Host(1).Path("/var/log/pvcd.log"))
		}
	}
	return s.farewell(ctx)
}

func (s *show) makeGuests(ctx context.Context) error {
	var images guest.Images
	err := withProgress(s.out, func() (err error) {
		images, err = guest.Build(ctx, testbed.GuestCache(testbed.DefaultRoot()), func(step string) { fmt.Fprintln(s.out, "  ·", step) })
		return err
	})
	if err != nil {
		return err
	}
	if images, err = images.CopyTo(filepath.Join(s.cluster.SharedDir(), "images")); err != nil {
		return err
	}
	tinyXML := guest.Tick(guest.Options{Name: tiny, Images: images, Log: consoleLog(tiny)})
	if err := os.WriteFile(s.xmlFile(tiny), []byte(tinyXML), 0o644); err != nil {
		return err
	}
	linuxXML := guest.Linux(guest.Options{Name: linux, Images: images, Log: consoleLog(linux), RBD: s.disk(), Seq: writePause, Bridge: "vmbr" + vni,
		Args: "sizes host=" + linux + " ping=" + webAddress})
	if err := os.WriteFile(s.xmlFile(linux), []byte(linuxXML), 0o644); err != nil {
		return err
	}
	webXML := guest.Linux(guest.Options{Name: web, Images: images, Log: consoleLog(web), Bridge: "vmbr" + vni, MAC: webMAC,
		Args: "host=" + web + " ping=" + gateway})
	if err := os.WriteFile(s.xmlFile(web), []byte(webXML), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "  their domain XML: %s, %s, %s\n", s.xmlFile(tiny), s.xmlFile(linux), s.xmlFile(web))
	return nil
}

// consoleLog is where pvcd looks for the serial log of a guest.
func consoleLog(vm string) string { return "/var/log/libvirt/" + vm + ".log" }

func (s *show) xmlFile(vm string) string { return filepath.Join(s.cluster.SharedDir(), vm+".xml") }

func (s *show) lookAround(ctx context.Context) (err error) {
	if s.api, err = s.cluster.API(ctx); err != nil {
		return err
	}
	if _, err := s.get(ctx, "/api/v1"); err != nil {
		return err
	}
	if _, err := s.get(ctx, "/api/v1/node"); err != nil {
		return err
	}
	_, err = s.get(ctx, "/api/v1/status/primary_node")
	return err
}

func (s *show) network(ctx context.Context) error {
	if err := s.post(ctx, "/api/v1/network", "vni="+vni, "description="+network, "nettype=managed", "ip4_network=10.100.0.0/24",
		"ip4_gateway="+gateway, "dhcp4=True", "dhcp4_start=10.100.0.100", "dhcp4_end=10.100.0.199"); err != nil {
		return err
	}
	return s.post(ctx, "/api/v1/network/"+network+"/lease", "macaddress="+webMAC, "ipaddress="+webAddress, "hostname="+web)
}

func (s *show) define(ctx context.Context) error {
	for i, vm := range []string{tiny, linux, web} {
		argv := curl(s.cluster.TokenHeaderFile(), "--data-urlencode", "xml@"+s.xmlFile(vm), "-d", "node="+s.cluster.Host(i+1).Name, s.api.URL+"/api/v1/vm")
		if _, err := execute(ctx, s.out, argv); err != nil {
			return err
		}
	}
	return nil
}

// start has the Linux guests, which take longest, boot while the tiny one is started.
func (s *show) start(ctx context.Context) error {
	for _, vm := range []string{linux, web} {
		if err := s.post(ctx, "/api/v1/vm/"+vm+"/state", "state=start"); err != nil {
			return err
		}
	}
	return s.post(ctx, "/api/v1/vm/"+tiny+"/state", "state=start", "wait=True")
}

func (s *show) consoles(ctx context.Context) error {
	if err := s.counts(ctx); err != nil {
		return err
	}
	return s.writesOn(ctx, 6)
}

// connected waits until each of the two has an answer: from the other, and from the
// gateway on the primary.
func (s *show) connected(ctx context.Context) error {
	for _, end := range [][2]string{{linux, webAddress}, {web, gateway}} {
		if err := s.waitConsole(ctx, end[0], func(text string) bool { return strings.Contains(text, "PING "+end[1]+" answers") }); err != nil {
			return err
		}
		if _, err := s.console(ctx, end[0], 3); err != nil {
			return err
		}
	}
	_, err := s.get(ctx, "/api/v1/network/"+network+"/lease")
	return err
}

func (s *show) migrate(ctx context.Context) error {
	target := s.cluster.Host(2).Name
	if err := s.post(ctx, "/api/v1/vm/"+tiny+"/node", "action=migrate", "node="+target, "wait=True"); err != nil {
		return err
	}
	if _, err := s.get(ctx, "/api/v1/vm/"+tiny+"/node"); err != nil {
		return err
	}
	return s.counts(ctx)
}

func (s *show) flush(ctx context.Context) error {
	host := s.cluster.Host(2).Name
	if err := s.post(ctx, "/api/v1/node/"+host+"/domain-state", "domain-state=flush", "wait=True"); err != nil {
		return err
	}
	if _, err := s.get(ctx, "/api/v1/vm?node="+host); err != nil {
		return err
	}
	return s.counts(ctx)
}

func (s *show) ready(ctx context.Context) error {
	host := s.cluster.Host(2).Name
	if err := s.post(ctx, "/api/v1/node/"+host+"/domain-state", "domain-state=ready", "wait=True"); err != nil {
		return err
	}
	_, err := s.get(ctx, "/api/v1/vm/"+linux+"/node")
	return err
}

func (s *show) shutDown(ctx context.Context) error {
	if err := s.post(ctx, "/api/v1/vm/"+linux+"/state", "state=shutdown", "wait=True"); err != nil {
		return err
	}
	_, err := s.get(ctx, "/api/v1/vm/"+linux+"/state")
	return err
}

// get shows a GET.
func (s *show) get(ctx context.Context, path string) ([]byte, error) {
	return execute(ctx, s.out, curl(s.cluster.TokenHeaderFile(), s.api.URL+path))
}

// getQuietly shows a GET without its answer.
func (s *show) getQuietly(ctx context.Context, path string) ([]byte, error) {
	return executeAnd(ctx, s.out, curl(s.cluster.TokenHeaderFile(), s.api.URL+path), func([]byte) {})
}

// post shows a POST with the values given as name=value.
func (s *show) post(ctx context.Context, path string, values ...string) error {
	return s.send(ctx, http.MethodPost, path, values...)
}

// send shows a request with the values given as name=value.
func (s *show) send(ctx context.Context, method, path string, values ...string) error {
	var args []string
	if method != http.MethodPost { // which -d stands for
		args = []string{"-X", method}
	}
	for _, v := range values {
		args = append(args, "-d", v)
	}
	_, err := execute(ctx, s.out, curl(s.cluster.TokenHeaderFile(), append(args, s.api.URL+path)...))
	return err
}

// counts waits until the tiny guest has counted on since the last look, shows
// its console, and fails if it began anew.
func (s *show) counts(ctx context.Context) error {
	before := s.counter
	err := s.waitConsole(ctx, tiny, func(text string) bool { n, _ := lastTick(text); return n >= before+3 })
	if err != nil {
		return err
	}
	text, err := s.console(ctx, tiny, 4)
	if err != nil {
		return err
	}
	n, restarted := lastTick(text)
	if n <= before || before > 0 && restarted {
		return fmt.Errorf("the guest has begun anew: its counter was %d, now its console says %q", before, text)
	}
	if before > 0 {
		fmt.Fprintf(s.out, "  the counter went on: %d, now %d\n", before, n)
	}
	s.counter = n
	return nil
}

// console shows the last lines of a guest's console, as JSON and as text.
func (s *show) console(ctx context.Context, vm string, lines int) (string, error) {
	body, err := s.get(ctx, fmt.Sprintf("/api/v1/vm/%s/console?lines=%d", vm, lines))
	if err != nil {
		return "", err
	}
	text, err := consoleText(body)
	s.lines(text)
	return text, err
}

// lines shows a text of several lines.
func (s *show) lines(text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(s.out, "  | %s\n", strings.TrimRight(line, "\r\n"))
	}
}

// waitConsole waits until a guest's console holds what it should.
func (s *show) waitConsole(ctx context.Context, vm string, enough func(string) bool) error {
	return withProgress(s.out, func() error {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for {
			status, body, err := s.api.Call(ctx, http.MethodGet, "/api/v1/vm/"+vm+"/console", nil)
			if text, terr := consoleText(body); err == nil && terr == nil && status == http.StatusOK && enough(text) {
				return nil
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return fmt.Errorf("the console of %s does not show what it should: %w; it is (%d, %v) %s", vm, ctx.Err(), status, err, body)
			}
		}
	})
}

func consoleText(body []byte) (string, error) {
	var answer struct {
		Data string `json:"data"`
	}
	err := json.Unmarshal(body, &answer)
	return answer.Data, err
}

var tickLine = regexp.MustCompile(`TICK (\d{8}|boot)`)

// lastTick is the last number of a tiny guest's console, and whether the text
// shows a boot.
func lastTick(text string) (n int, boot bool) {
	for _, m := range tickLine.FindAllStringSubmatch(text, -1) {
		if m[1] == "boot" {
			boot = true
			continue
		}
		n, _ = strconv.Atoi(m[1]) // eight digits
	}
	return n, boot
}

func (s *show) farewell(ctx context.Context) error {
	host, err := s.whereIs(ctx, tiny)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, `
=== The cluster stays up

  API     %[1]s  (on the primary; bin/pvc-testbed status finds it after a take-over)
  token   %[2]s  (in the header X-Api-Key)

Try next, in this or another shell:
  curl -sS -H @%[3]s %[1]s/api/v1/vm
  curl -sS -H @%[3]s -d action=migrate -d wait=True %[1]s/api/v1/vm/%[4]s/node
  curl -sS -H @%[3]s -d state=start -d wait=True %[1]s/api/v1/vm/%[5]s/state
  bin/pvc-testbed status
  bin/pvc-testbed kill pvcd 1                 its guests do not notice; it is started again
  bin/pvc-testbed exec %[6]s virsh list          what runs on a host
  bin/pvc-testbed exec %[6]s virsh console %[4]s  a guest's terminal; leave it with Ctrl-]
  bin/pvc-testbed exec %[6]s rbd ls -l %[7]s        what Ceph's own tools see

Stop it:  make demo-down
`, s.api.URL, s.api.Token, s.cluster.TokenHeaderFile(), tiny, linux, host, pool)
	return err
}

// whereIs is the node that a VM is assigned to.
func (s *show) whereIs(ctx context.Context, vm string) (string, error) {
	status, body, err := s.api.Call(ctx, http.MethodGet, "/api/v1/vm/"+vm+"/node", nil)
	if err != nil {
		return "", err
	}
	var answer struct {
		Node string `json:"node"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		return "", fmt.Errorf("node of VM %s: %d %s", vm, status, body)
	}
	return answer.Node, nil
}
