// Command table turns the output of "make bench", read from standard input, into the
// tables of docs/performance.md.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

var (
	result  = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.+)$`)
	machine = regexp.MustCompile(`^\s+\S+_test\.go:\d+: (.+ processors, .+, load .+)$`)
)

// run copies figures as they are; it computes nothing.
func run(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	rows := 0
	for lines.Scan() {
		if m := machine.FindStringSubmatch(lines.Text()); m != nil {
			fmt.Fprintf(out, "\nThe run above: %s.\n\n", m[1])
			continue
		}
		m := result.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		fields := strings.Fields(m[2])
		if len(fields)%2 != 0 {
			return fmt.Errorf("a value without a unit in %q", lines.Text())
		}
		fmt.Fprintf(out, "| benchmark | figure | value |\n|---|---|---:|\n")
		for i := 0; i < len(fields); i += 2 {
			if unit := fields[i+1]; unit != "B/op" && unit != "allocs/op" && unit != "ns/op" {
				fmt.Fprintf(out, "| %s | %s | %s |\n", m[1], unit, fields[i])
			}
		}
		fmt.Fprintln(out)
		rows++
	}
	if rows == 0 && lines.Err() == nil {
		return fmt.Errorf("no result in the input")
	}
	return lines.Err()
}
