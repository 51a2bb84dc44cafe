package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	gorados "github.com/ceph/go-ceph/rados"
	"golang.org/x/sync/errgroup"

	commands "github.com/parallelvirtualcluster/pvc/common/run"
)

// step is one thing to do: a call by name, or a program.
type step struct {
	Call string   `json:"call,omitempty"`
	Args []string `json:"args"`
	Tool []string `json:"tool,omitempty"`
}

// answer to a list of steps.
type answer struct {
	Took  time.Duration `json:"took"` // nanoseconds
	Error string        `json:"error"`
}

// toolTime is more than any tool takes here.
const toolTime = 2 * time.Minute

// run serves steps until the input ends.
func run(ctx context.Context, in io.Reader, out io.Writer) error {
	conn, err := gorados.NewConn()
	if err != nil {
		return err
	}
	if err := conn.ReadDefaultConfigFile(); err != nil {
		return fmt.Errorf("read Ceph's configuration: %w", err)
	}
	if err := conn.Connect(); err != nil {
		return fmt.Errorf("connect to Ceph: %w", err)
	}
	defer conn.Shutdown()
	requests, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var steps []step
		if err := requests.Decode(&steps); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read steps: %w", err)
		}
		var a answer
		began := time.Now()
		err := all(ctx, conn, steps)
		if a.Took = time.Since(began); err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

// all carries steps out at once.
func all(ctx context.Context, conn *gorados.Conn, steps []step) error {
	var g errgroup.Group
	for _, s := range steps {
		g.Go(func() error {
			if len(s.Tool) > 0 {
				_, err := commands.System{}.Run(ctx, commands.Command{Argv: s.Tool, Timeout: toolTime})
				return err
			}
			return call(conn, s.Call, s.Args)
		})
	}
	return g.Wait()
}
