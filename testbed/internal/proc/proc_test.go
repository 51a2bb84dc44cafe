package proc

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const testDeadline = 10 * time.Second

// childEnv makes the test binary play the parent that dies.
const childEnv = "PVC_PROC_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("cat") // ends by itself only if its input does
	cmd.Stdin, _ = os.Open("/dev/zero")
	cmd.Stdout = nil
	if err := StartTied(cmd); err != nil {
		os.Exit(3)
	}
	os.Stdout.WriteString(strconv.Itoa(cmd.Process.Pid) + "\n")
	select {}
}

func TestTiedProcessDiesWithItsKilledParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), childEnv+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	child, err := Identify(pid)
	if err != nil || !child.Alive() {
		t.Fatalf("child %d is not there before the parent's death: %v", pid, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	if !WaitGone(child, testDeadline) {
		t.Fatalf("process %d outlives its parent", pid)
	}
}

func TestIdentityIsNotFooledByARecycledPID(t *testing.T) {
	self, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !self.Alive() {
		t.Error("the test itself is not alive")
	}
	other := Identity{PID: self.PID, Start: self.Start + 1}
	if other.Alive() {
		t.Error("another process with the same pid counts as alive")
	}
	if err := other.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal to a recycled pid: %v", err)
	}
	if (Identity{}).Alive() {
		t.Error("the zero identity is alive")
	}
}

func TestZombieIsNotAlive(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	in.Close() // it ends, nobody has waited for it yet
	if !WaitGone(id, testDeadline) {
		t.Error("a zombie counts as alive")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
