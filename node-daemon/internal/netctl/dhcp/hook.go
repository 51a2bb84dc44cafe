package dhcp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// HookName is the name under which dnsmasq calls pvcd.
const HookName = "pvcd-dhcp-hook"

// What a dnsmasq tells its hook about itself, in the environment.
const (
	envSocket  = "PVCD_DHCP_SOCKET"
	envNetwork = "PVCD_DHCP_NETWORK"
)

// The whole exchange of a hook with the daemon takes at most so long; init waits for
// the record of leases.
const exchangeTimeout = 20 * time.Second

// maxMessage bounds a request. Arguments and variables of a call are bounded by the size
// of a DHCP packet.
const maxMessage = 64 << 10

type request struct {
	Network string            `json:"network"`
	Args    []string          `json:"args"`
	Env     map[string]string `json:"env"`
}

type response struct {
	Error string `json:"error,omitempty"`
	Text  string `json:"text,omitempty"`
}

// IsHook says whether a program that was started with that zeroth argument is called by
// dnsmasq: then Hook does its work.
func IsHook(arg0 string) bool { return filepath.Base(arg0) == HookName }

// Hook tells the running pvcd what dnsmasq says in its arguments (without the zeroth)
// and environment, and prints the database of leases on "init". It returns the exit
// status: 0, or 1 with the reason on stderr if the daemon does not take it. dnsmasq
// ends if that happens at "init", and logs it at any other time.
func Hook(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintln(stderr, "dhcp hook: dnsmasq calls this with an action")
		return 1
	}
	switch args[0] {
	case actionInit, actionAdd, actionOld, actionDel:
	default:
		return 0 // of no concern: dnsmasq(8) announces new actions
	}
	text, err := ask(args, getenv)
	if err == nil {
		_, err = io.WriteString(stdout, text)
	}
	if err != nil {
		fmt.Fprintf(stderr, "dhcp hook: %s: %v\n", args[0], err)
		return 1
	}
	return 0
}

func ask(args []string, getenv func(string) string) (string, error) {
	q := request{Network: getenv(envNetwork), Args: args, Env: map[string]string{}}
	for _, name := range variables {
		if v := getenv(name); v != "" {
			q.Env[name] = v
		}
	}
	conn, err := net.DialTimeout("unix", getenv(envSocket), exchangeTimeout)
	if err != nil {
		return "", errs.Unavailablef("reach pvcd: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		return "", err
	}
	failed := json.NewEncoder(conn).Encode(q) // also if pvcd has refused before it was all told
	var a response
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return "", errs.Unavailablef("talk with pvcd: %w", cmp.Or(failed, err))
	}
	if a.Error != "" {
		return "", errs.New(errs.Internal, "pvcd: %s", a.Error)
	}
	return a.Text, nil
}
