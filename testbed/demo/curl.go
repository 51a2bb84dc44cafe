package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// curl is the beginning of every call. The token is in a file, so that it shows
// neither here nor in a process list.
func curl(headerFile string, args ...string) []string {
	return append([]string{"curl", "-sS", "--fail-with-body", "-H", "@" + headerFile}, args...)
}

// execute prints argv as a line for a shell, runs exactly that argv and prints
// what it answers. The error of a call that the API refuses names the answer.
func execute(ctx context.Context, out io.Writer, argv []string) ([]byte, error) {
	return executeAnd(ctx, out, argv, func(answer []byte) { fmt.Fprintln(out, strings.TrimRight(string(answer), "\n")) })
}

// executeAnd is execute that leaves it to show what is printed of an answer.
func executeAnd(ctx context.Context, out io.Writer, argv []string, show func(answer []byte)) ([]byte, error) {
	fmt.Fprintln(out, "$", shellLine(argv))
	var answer, words bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &answer, &words, time.Second
	begin := time.Now()
	err := withProgress(out, func() error { return cmd.Run() })
	if answer.Len() > 0 {
		show(answer.Bytes())
	}
	if took := time.Since(begin); took > time.Second {
		fmt.Fprintf(out, "  (%.1f s)\n", took.Seconds())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s%s", shellLine(argv), err, words.String(), answer.String())
	}
	return answer.Bytes(), nil
}

// withProgress runs f and says every second that it is still at it.
func withProgress(out io.Writer, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }() // received below
	begin, ticker := time.Now(), time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			fmt.Fprintf(out, "  … %.0f s\n", time.Since(begin).Seconds())
		}
	}
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellLine writes argv so that a POSIX shell makes the same argv of it.
func shellLine(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		if !plainWord.MatchString(w) {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words[i] = w
	}
	return strings.Join(words, " ")
}
