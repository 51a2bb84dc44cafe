package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/demo"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// upDeadline bounds the start of a cluster.
const upDeadline = 2 * time.Minute

// session is one call of the program.
type session struct {
	options testbed.Options
	out     io.Writer
}

// command is a word of the command line. One with a host gets that host.
type command struct {
	name, args, help string
	argc             int // least number of arguments
	run              func(s *session, ctx context.Context, args []string) error
}

var commands = []command{
	{"up", "", "start a new cluster", 0, (*session).cmdUp},
	{"down", "", "end the cluster", 0, (*session).cmdDown},
	{"status", "", "hosts, services and the API", 0, (*session).cmdStatus},
	{"demo", "", "start a new cluster and show its main job", 0, (*session).cmdDemo},
	{"crash", "N", "cut host N from power", 1, onHost(func(_ context.Context, h *host.Host, _ []string) error { return h.PowerCut() })},
	{"boot", "N", "switch host N on", 1, onHost(func(ctx context.Context, h *host.Host, _ []string) error { return h.PowerOn(ctx) })},
	{"exec", "N CMD…", "run a program on host N", 2, onHost(execOn)},
	{"cut", "N", "pull the network cable of host N", 1, onHost(func(ctx context.Context, h *host.Host, _ []string) error { return h.CutLink(ctx) })},
	{"heal", "N", "plug it in again", 1, onHost(func(ctx context.Context, h *host.Host, _ []string) error { return h.HealLink(ctx) })},
	{"kill", "SERVICE N", "kill a service of host N; it is started again", 2, onService((*host.Host).Kill)},
	{"pause", "SERVICE N", "freeze it", 2, onService((*host.Host).Pause)},
	{"cont", "SERVICE N", "let it go on", 2, onService((*host.Host).Cont)},
	{"keep-down", "SERVICE N", "kill it and do not start it again", 2, onService((*host.Host).KeepDown)},
	{"start", "SERVICE N", "start it after keep-down", 2, onService((*host.Host).Up)},
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s := &session{out: out}
	flags := flag.NewFlagSet("pvc-testbed", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&s.options.Prefix, "prefix", "hv", "hosts are PREFIX1, PREFIX2, …")
	flags.StringVar(&s.options.Subnet, "subnet", "", "IPv4 /24 of the hosts; empty: one that goes with the prefix, 10.99.0.0/24 for hv")
	flags.IntVar(&s.options.Hosts, "hosts", 3, "number of hosts")
	flags.StringVar(&s.options.Root, "root", testbed.DefaultRoot(), "folder for everything the testbed makes")
	flags.StringVar(&s.options.Binaries, "bin", besideMe(), "folder that holds pvcd and pvc-api; empty: run without them")
	flags.BoolVar(&s.options.Storage, "storage", false, "with a Ceph cluster: monitor and manager on host 1, an OSD on each of the first three")
	flags.IntVar(&s.options.Disks, "disks", 0, "number of spare disks of each host: /dev/sdb and on")
	flags.BoolVar(&s.options.FSync, "fsync", true, "ZooKeeper syncs each transaction, as on a real cluster")
	flags.Usage = func() { usage(out, flags) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() == 0 {
		usage(out, flags)
		return errors.New("a command is missing")
	}
	for _, c := range commands {
		if c.name != flags.Arg(0) {
			continue
		}
		if flags.NArg()-1 < c.argc {
			return fmt.Errorf("usage: pvc-testbed %s %s", c.name, c.args)
		}
		return c.run(s, ctx, flags.Args()[1:])
	}
	return fmt.Errorf("unknown command %q", flags.Arg(0))
}

func usage(out io.Writer, flags *flag.FlagSet) {
	fmt.Fprintln(out, "usage: pvc-testbed [flags] COMMAND")
	for _, c := range commands {
		fmt.Fprintf(out, "  %-22s %s\n", c.name+" "+c.args, c.help)
	}
	fmt.Fprintf(out, "services: %s\nflags:\n", strings.Join([]string{testbed.ZooKeeper, testbed.Libvirtd, testbed.PVCD, testbed.PVCAPI, testbed.CephMon, testbed.CephMgr, testbed.CephOSD(0)}, ", "))
	flags.PrintDefaults()
}

// besideMe is the folder of this program: make puts the daemons there too.
func besideMe() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Dir(self)
}

func (s *session) up(ctx context.Context) (*testbed.Cluster, error) {
	s.options.Linger, s.options.Networking = true, true
	s.options.Progress = func(step string) { fmt.Fprintln(s.out, "  ·", step) }
	if err := testbed.Down(ctx, s.options.Root, s.options.Prefix); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, upDeadline)
	defer cancel()
	return testbed.Up(ctx, s.options)
}

func (s *session) cmdUp(ctx context.Context, _ []string) error {
	c, err := s.up(ctx)
	if err != nil {
		return err
	}
	return s.status(ctx, c)
}

func (s *session) cmdDown(ctx context.Context, _ []string) error {
	if err := testbed.Down(ctx, s.options.Root, s.options.Prefix); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "cluster %s is down\n", s.options.Prefix)
	return nil
}

func (s *session) cmdStatus(ctx context.Context, _ []string) error {
	c, err := s.open()
	if err != nil {
		return err
	}
	return s.status(ctx, c)
}

func (s *session) cmdDemo(ctx context.Context, _ []string) error {
	fmt.Fprintf(s.out, "Starting a cluster of %d hosts with Ceph\n", s.options.Hosts)
	s.options.Storage = true // the demonstration has a volume
	c, err := s.up(ctx)
	if err != nil {
		return err
	}
	return demo.Run(ctx, c, s.out)
}

// open finds the running cluster.
func (s *session) open() (*testbed.Cluster, error) {
	return testbed.Open(s.options.Root, s.options.Prefix)
}

func (s *session) status(ctx context.Context, c *testbed.Cluster) error {
	for _, h := range c.Hosts() {
		if !h.On() {
			fmt.Fprintf(s.out, "%s %s: off\n", h.Name, h.Addr())
			continue
		}
		services, err := h.Status(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%s %s\n", h.Name, h.Addr())
		for _, v := range services {
			fmt.Fprintf(s.out, "  %-10s %s\n", v.Name, describe(v))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if a, err := c.API(ctx); err == nil {
		fmt.Fprintf(s.out, "API: %s on primary %s, header %s\n", a.URL, a.Node, c.TokenHeaderFile())
	} else {
		fmt.Fprintln(s.out, "API: no host answers")
	}
	return nil
}

func describe(v host.Status) string {
	switch {
	case v.PID == 0 && v.Down:
		return "kept down"
	case v.PID == 0:
		return "not running, will be started"
	case v.Paused:
		return fmt.Sprintf("paused, pid %d", v.PID)
	}
	return fmt.Sprintf("pid %d, started %d times", v.PID, v.Starts)
}

// onHost makes a command whose first argument is the number of a host.
func onHost(f func(context.Context, *host.Host, []string) error) func(*session, context.Context, []string) error {
	return func(s *session, ctx context.Context, args []string) error {
		c, err := s.open()
		if err != nil {
			return err
		}
		i, err := strconv.Atoi(strings.TrimPrefix(args[0], s.options.Prefix))
		if err != nil || i < 1 || i > len(c.Hosts()) {
			return fmt.Errorf("host %q: a number from 1 to %d was expected", args[0], len(c.Hosts()))
		}
		return f(ctx, c.Host(i), args[1:])
	}
}

// onService makes a command with the arguments service and host.
func onService(f func(*host.Host, context.Context, string) error) func(*session, context.Context, []string) error {
	return func(s *session, ctx context.Context, args []string) error {
		return onHost(func(ctx context.Context, h *host.Host, _ []string) error {
			return f(h, ctx, args[0])
		})(s, ctx, args[1:])
	}
}

// execOn runs a program on a host with the terminal of the caller.
func execOn(ctx context.Context, h *host.Host, argv []string) error {
	cmd, err := h.Command(ctx, argv...)
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
