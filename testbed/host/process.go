package host

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/internal/proc"
)

// killDeadline bounds the wait for the end of all processes of a host.
const killDeadline = 20 * time.Second

// initProcess starts one init. Files that the init gets: 3 is read until its
// end, which says that the network is wired; 4 takes "ready" or an error.
type initProcess struct {
	dir        string
	linger     bool
	namespaces uintptr
	spec       initSpec
	inherit    []*os.File
}

// start runs the init, has its network wired from outside and waits until it is
// ready. On failure nothing is left running.
func (p *initProcess) start(ctx context.Context, wire func(ctx context.Context, pid int) error) (err error) {
	wired, ready, cmd, err := p.launch()
	if err != nil {
		return err
	}
	defer wired.Close()
	defer ready.Close()
	exited := make(chan struct{})
	go func() { // ends with the init; a lingering one outlives us all
		_ = cmd.Wait()
		close(exited)
	}()
	defer func() {
		if err != nil {
			_ = cmd.Process.Kill()
			<-exited
			_ = os.Remove(identityFile(p.dir))
		}
	}()
	id, err := proc.Identify(cmd.Process.Pid)
	if err != nil {
		return err
	}
	// Written before anything can fail, so that nothing that runs is ever unknown.
	if err := os.WriteFile(identityFile(p.dir), fmt.Appendf(nil, "%d %d\n", id.PID, id.Start), 0o644); err != nil {
		return err
	}
	if err := wire(ctx, cmd.Process.Pid); err != nil {
		return err
	}
	wired.Close()
	return awaitReady(ctx, ready, p.logPath())
}

// launch executes this program again as the init of new namespaces.
func (p *initProcess) launch() (wired, ready *os.File, cmd *exec.Cmd, err error) {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, nil, nil, err
	}
	spec, err := json.Marshal(p.spec)
	if err != nil {
		return nil, nil, nil, err
	}
	log, err := os.OpenFile(p.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, nil, err
	}
	defer log.Close()
	wiredIn, wired, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	defer wiredIn.Close()
	ready, readyOut, err := os.Pipe()
	if err != nil {
		wired.Close()
		return nil, nil, nil, err
	}
	defer readyOut.Close()
	cmd = &exec.Cmd{Path: "/proc/self/exe", Args: []string{initName, string(spec)},
		Env: []string{"PATH=" + searchPath, "HOME=/root", "LANG=C.UTF-8"}, Dir: "/",
		Stdout: log, Stderr: log, ExtraFiles: append([]*os.File{wiredIn, readyOut}, p.inherit...),
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: p.namespaces, Setsid: true}}
	begin := proc.StartTied
	if p.linger {
		begin = (*exec.Cmd).Start
	}
	if err := begin(cmd); err != nil {
		wired.Close()
		ready.Close()
		return nil, nil, nil, fmt.Errorf("start init: %w", err)
	}
	return wired, ready, cmd, nil
}

// awaitReady reads the init's verdict on its own start.
func awaitReady(ctx context.Context, ready *os.File, log string) error {
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(0, 1)) })
	defer stop()
	b, err := io.ReadAll(ready)
	if ctx.Err() != nil {
		return fmt.Errorf("init does not get ready: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("init does not get ready: %w", err)
	}
	if verdict := strings.TrimSpace(string(b)); verdict != readyWord {
		return fmt.Errorf("init fails (log in %s): %s", log, verdict)
	}
	return nil
}

func (p *initProcess) logPath() string { return filepath.Join(p.dir, "init.log") }

// killInit kills the init whose identity is kept in dir, and with it the kernel
// everything in its PID namespace, and returns when all of that is gone.
func killInit(dir string) error {
	id := loadIdentity(dir)
	if err := id.Signal(syscall.SIGKILL); err != nil && err != os.ErrProcessDone {
		return err
	}
	// The init of a PID namespace ends after all others in it have ended.
	if !proc.WaitGone(id, killDeadline) {
		return fmt.Errorf("process %d is still there %v after SIGKILL", id.PID, killDeadline)
	}
	if err := os.Remove(identityFile(dir)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
