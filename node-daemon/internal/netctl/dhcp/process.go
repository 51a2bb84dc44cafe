package dhcp

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// capabilities are what a DHCP server needs beyond the rights of its user: entries in
// the neighbour table for clients without an address, raw and ICMP sockets, ports 67 and 547.
var capabilities = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE}

// The time that dnsmasq has to end after TERM, and that its helper, which calls the
// hook, has for the last changes after that.
const (
	termTimeout = 3 * time.Second
	restTimeout = 3 * time.Second
)

// process is a dnsmasq that was started.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and said its last
	err    error         // why it ended; to be read after that
}

// startProcess must be called on the starter's thread.
func startProcess(program, config string, env []string, u user, out *output) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "--conf-file="+config)
	cmd.Env = env
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:     true,
		Pdeathsig:   syscall.SIGKILL,
		Credential:  &syscall.Credential{Uid: u.uid, Gid: u.gid},
		AmbientCaps: capabilities,
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, errs.Unavailablef("start %s: %w", program, err)
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go p.wait(r, out)
	return p, nil
}

// wait reaps the process.
func (p *process) wait(r *os.File, out *output) {
	defer close(p.exited)
	read := make(chan struct{})
	go func() { defer close(read); out.copy(r) }()
	err := p.cmd.Wait()
	_ = r.SetReadDeadline(time.Now().Add(restTimeout)) // nobody else should have the other end
	<-read
	r.Close()
	why := "it ended"
	if err != nil {
		why = err.Error()
	}
	p.err = errs.Unavailablef("dnsmasq: %s: %q", why, model.Clip(out.last()))
}

// stop ends the process and returns when it is gone, and its helper too, which calls the
// hook with the last changes.
func (p *process) stop() {
	helpers := p.children()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	t := time.NewTimer(termTimeout)
	defer t.Stop()
	select {
	case <-p.exited:
	case <-t.C:
		p.signalGroup(syscall.SIGKILL)
		<-p.exited
	}
	end := time.Now().Add(restTimeout)
	for _, fd := range helpers {
		if !readable(fd, time.Until(end)) { // a pidfd is, when the process has ended
			p.signalGroup(syscall.SIGKILL) // the group is ours for as long as one is in it
		}
		unix.Close(fd)
	}
}

// children are those of the process, as pidfds. A kernel that does not tell them
// (CONFIG_PROC_CHILDREN) costs the last changes their way to the record.
func (p *process) children() (fds []int) {
	pid := p.cmd.Process.Pid
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	for _, word := range strings.Fields(string(text)) {
		child, err := strconv.Atoi(word)
		if err != nil {
			continue
		}
		if fd, err := unix.PidfdOpen(child, 0); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds
}

func (p *process) signalGroup(sig syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, sig) }
