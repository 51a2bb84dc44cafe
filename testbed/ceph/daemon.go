package ceph

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/parallelvirtualcluster/pvc/testbed/internal/proc"
)

// daemon is one process of a cluster, running or not.
type daemon struct {
	name   string
	argv   []string
	log    string    // file that takes what it prints, beside its own log
	cmd    *exec.Cmd // nil while not running
	exited chan struct{}
}

func (d *daemon) start() error {
	if d.running() {
		return fmt.Errorf("start Ceph daemon %s: it runs already", d.name)
	}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start Ceph daemon %s: %w", d.name, err)
	}
	defer log.Close()
	cmd := exec.Command(d.argv[0], d.argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	if err := proc.StartTied(cmd); err != nil {
		return fmt.Errorf("start Ceph daemon %s: %w", d.name, err)
	}
	exited := make(chan struct{})
	go func() { // owned by the daemon: kill waits for it
		_ = cmd.Wait() // how a killed daemon ended is of no interest
		close(exited)
	}()
	d.cmd, d.exited = cmd, exited
	return nil
}

func (d *daemon) kill() error {
	if d.cmd == nil {
		return nil
	}
	if err := d.cmd.Process.Kill(); err != nil && err != os.ErrProcessDone {
		return fmt.Errorf("kill Ceph daemon %s: %w", d.name, err)
	}
	<-d.exited
	d.cmd = nil
	return nil
}

// running says whether the process is there: a daemon may also end by itself.
func (d *daemon) running() bool {
	if d.cmd == nil {
		return false
	}
	select {
	case <-d.exited:
		return false
	default:
		return true
	}
}

func (d *daemon) signal(sig syscall.Signal) error {
	if !d.running() {
		return fmt.Errorf("signal %v: Ceph daemon %s does not run", sig, d.name)
	}
	if err := d.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %v to Ceph daemon %s: %w", sig, d.name, err)
	}
	return nil
}

func (d *daemon) pid() int {
	if !d.running() {
		return 0
	}
	return d.cmd.Process.Pid
}
