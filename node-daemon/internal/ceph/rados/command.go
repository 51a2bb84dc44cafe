package rados

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// command is one for a monitor or the manager: its prefix and arguments.
type command map[string]any

// words is the longest reason that is passed on; a monitor can answer with a usage text
// of pages.
const words = 400

// decimal is a number that Ceph expects with a point in it.
type decimal float64

// MarshalJSON writes 1 as 1.0.
func (d decimal) MarshalJSON() ([]byte, error) {
	text := strconv.FormatFloat(float64(d), 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return []byte(text), nil
}

// send has a monitor carry out a command. The answer is JSON unless cmd names a format.
func (cmd command) send(conn *gorados.Conn, input []byte) ([]byte, error) {
	text, err := cmd.text()
	if err != nil {
		return nil, err
	}
	out, said, err := conn.MonCommandWithInputBuffer(text, input)
	return out, refusal(err, said)
}

func (cmd command) text() ([]byte, error) {
	if _, ok := cmd["format"]; !ok {
		cmd["format"] = "json"
	}
	text, err := json.Marshal(cmd)
	if err != nil {
		return nil, fmt.Errorf("encode Ceph command %v: %w", cmd["prefix"], err)
	}
	return text, nil
}

// ask is send with an answer that is decoded.
func (cmd command) ask(conn *gorados.Conn, into any) error {
	out, err := cmd.send(conn, nil)
	if err != nil {
		return err
	}
	return cmd.decode(out, into)
}

func (cmd command) decode(out []byte, into any) error {
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("answer of Ceph to %q: %w", cmd["prefix"], err)
	}
	return nil
}

// askManager has the manager answer in JSON.
func (cmd command) askManager(conn *gorados.Conn, into any) error {
	out, err := cmd.sendManager(conn)
	if err != nil {
		return err
	}
	return cmd.decode(out, into)
}

func (cmd command) sendManager(conn *gorados.Conn) ([]byte, error) {
	text, err := cmd.text()
	if err != nil {
		return nil, err
	}
	out, said, err := conn.MgrCommand([][]byte{text})
	return out, refusal(err, said)
}

// change has a monitor carry out a command that changes something, unless this client is
// fenced: monitors do not look for that.
func (cmd command) change(l *link, conn *gorados.Conn, input []byte) ([]byte, error) {
	if err := notFenced(l, conn); err != nil {
		return nil, notSent{err}
	}
	l.step("ceph " + fmt.Sprint(cmd["prefix"]))
	return cmd.send(conn, input)
}

// do is call for a command that changes something and says nothing.
func (cmd command) do(ctx context.Context, c calls, what string) error {
	_, err := call(ctx, c, what, short, changes, func(l *link, conn *gorados.Conn) (struct{}, error) {
		_, err := cmd.change(l, conn, nil)
		return struct{}{}, err
	})
	return err
}

// notFenced is ESHUTDOWN if a client of the link is on the blocklist, as an OSD would say.
func notFenced(l *link, conn *gorados.Conn) error {
	entries, err := blocklist(conn)
	if err != nil {
		return err
	}
	for _, address := range l.clients {
		_, in := entries[address]
		host, _, _ := strings.Cut(address, ":0/")
		_, all := entries[host+":0/0"]
		if in || all {
			return ceph.Refused(syscall.ESHUTDOWN, fmt.Sprintf("this client %q is blocklisted", address))
		}
	}
	return nil
}

// coded is an error of go-ceph with Ceph's (negative) number.
type coded interface{ ErrorCode() int }

// refusal gives an error of librados or librbd its number and words.
func refusal(err error, said string) error {
	if err == nil {
		return nil
	}
	said = strings.TrimSpace(said)
	if len(said) > words {
		said = strings.ToValidUTF8(said[:words], "") + "…"
	}
	number := numberOf(err)
	if number == 0 {
		return errs.New(errs.Internal, "%w", err)
	}
	return ceph.Refused(number, said)
}

func numberOf(err error) syscall.Errno {
	var code coded
	if !errors.As(err, &code) {
		return 0
	}
	n := code.ErrorCode()
	return syscall.Errno(max(n, -n))
}

// sorted returns the distinct values in order.
func sorted(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}
