package nets

import (
	"net/http"
	"strings"
	"testing"
)

func TestRulesDecideAndNetworksAreApart(t *testing.T) {
	t.Parallel()
	a := connected(t, "120", "left", "120")
	b := connected(t, "121", "right", "121")
	bAddress := b.Address(t)
	b.Run(t, "for port in 80 81; do httpd -p $port -h /proc/self; done")
	open := func(port string) bool {
		_, ok := a.Run(t, "nc -w 3 "+bAddress+" "+port+" </dev/null >/dev/null 2>&1")
		return ok
	}
	if !open("80") || !open("81") {
		t.Fatal("without rules a guest does not reach another network")
	}
	do(t, http.MethodPost, "/network/right/acl", "description", "no web", "direction", "in", "rule", "tcp dport 80 drop")
	within(t, deadline, "the rule is in force", func() error { return wrongIf(open("80"), "port 80 is open") })
	if !open("81") {
		t.Error("the rule closes another port")
	}
	do(t, http.MethodPost, "/node/"+secondary(t).Name+"/coordinator-state", "coordinator-state", "primary", "wait", "True")
	if open("80") {
		t.Error("the next primary has not got the rule")
	}
	a.Reaches(t, bAddress)
	// A rule of one network does not concern another.
	a.Reaches(t, "10.120.0.1")
	do(t, http.MethodDelete, "/network/right/acl/no%20web", "direction", "in")
	within(t, deadline, "the rule is gone", func() error { return wrongIf(!open("80"), "port 80 is closed") })

	do(t, http.MethodPost, "/network/left/acl", "description", "stay", "direction", "out", "rule", "ip daddr 10.121.0.0/24 drop")
	within(t, deadline, "the path is cut", func() error { return wrongIf(open("80"), "the path is there") })
	do(t, http.MethodDelete, "/network/left/acl/stay", "direction", "out")

	if status, body := ask(t, http.MethodPost, "/network/left/acl", "description", "evil", "direction", "in",
		"rule", "accept; add rule inet filter input drop"); status != 510 || !strings.Contains(body, "add rule") && !strings.Contains(body, ";") {
		t.Errorf("%d %s", status, body)
	}
	// On one wire they would find each other without any router.
	b.Run(t, "ip addr add 10.120.0.77/24 dev eth0; ip route del default")
	if _, ok := b.Run(t, "arping -c 3 -w 3 -I eth0 "+a.Address(t)+" >/dev/null"); ok {
		t.Error("frames of one network are in another")
	}
}

type wrong string

func (w wrong) Error() string { return string(w) }

func wrongIf(bad bool, what string) error {
	if bad {
		return wrong(what)
	}
	return nil
}
