package compat

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/testbed/internal/proc"
)

//go:embed oldclient.py
var oldClient string

// python is Debian's: it is the one that has python3-kazoo.
const python = "/usr/bin/python3"

// MissingLibrary says what keeps the old client from running here, empty if nothing does.
func MissingLibrary() string {
	if out, err := exec.Command(python, "-c", "import kazoo.client").CombinedOutput(); err != nil {
		return fmt.Sprintf("%s has no kazoo (Debian package python3-kazoo): %v: %s", python, err, out)
	}
	return ""
}

// OldClient is a client of PVC 0.5 in a process of its own. Its methods end the test
// when something fails.
type OldClient struct {
	t   testing.TB
	in  io.Writer
	out *bufio.Scanner
}

// StartOldClient connects an old client to the ensemble until the test ends. Without
// the library the test is skipped.
func StartOldClient(t testing.TB, servers []string) *OldClient {
	t.Helper()
	if missing := MissingLibrary(); missing != "" {
		t.Skip(missing)
	}
	cmd := exec.Command(python, "-c", oldClient, strings.Join(servers, ","))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var words strings.Builder
	cmd.Stderr = &words
	if err := proc.StartTied(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // it ends with its input
		if err := cmd.Wait(); err != nil {
			t.Errorf("the old client: %v\n%s", err, words.String())
		}
	})
	c := &OldClient{t: t, in: in, out: bufio.NewScanner(out)}
	c.out.Buffer(nil, 16<<20)
	c.answer(nil)
	return c
}

// Write sets keys in one transaction, as the old client's helper does; a change in the
// middle of it, which that helper would not notice, ends the test.
func (c *OldClient) Write(keys map[string]string) {
	c.t.Helper()
	var refused []string
	c.ask(map[string]any{"do": "write", "keys": keys}, &refused)
	if len(refused) > 0 {
		c.t.Fatalf("the old client's transaction of %v was refused: %v", keys, refused)
	}
}

// TryWrite is Write; it reports whether the transaction was committed.
func (c *OldClient) TryWrite(keys map[string]string) bool {
	c.t.Helper()
	var refused []string
	c.ask(map[string]any{"do": "write", "keys": keys}, &refused)
	return len(refused) == 0
}

// Remove deletes a path and all below it, one request per znode.
func (c *OldClient) Remove(path string) {
	c.t.Helper()
	c.ask(map[string]any{"do": "remove", "path": path}, nil)
}

// Tree reads a path and all below it.
func (c *OldClient) Tree(path string) Tree {
	c.t.Helper()
	t := Tree{}
	c.ask(map[string]any{"do": "tree", "path": path}, &t)
	return t
}

func (c *OldClient) ask(request map[string]any, value any) {
	c.t.Helper()
	line, err := json.Marshal(request)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		c.t.Fatalf("the old client: %v", err)
	}
	c.answer(value)
}

func (c *OldClient) answer(value any) {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatalf("the old client has ended: %v", c.out.Err())
	}
	var a struct {
		Value json.RawMessage
		Error string
	}
	if err := json.Unmarshal(c.out.Bytes(), &a); err != nil {
		c.t.Fatalf("the old client says %q: %v", c.out.Text(), err)
	}
	if a.Error != "" {
		c.t.Fatalf("the old client: %s", a.Error)
	}
	if value != nil {
		if err := json.Unmarshal(a.Value, value); err != nil {
			c.t.Fatal(err)
		}
	}
}
