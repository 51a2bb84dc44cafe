package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// API is the HTTP API of a cluster's primary.
type API struct {
	URL   string // http://10.99.0.11:7370, without the path
	Token string
	Node  string // host name of the primary
}

// API finds the primary: the one host whose pvc-api answers /readyz. It asks
// until one does or ctx ends.
func (c *Cluster) API(ctx context.Context) (API, error) {
	var found API
	err := until(ctx, "an API", "", func() error {
		var problems []error
		for _, h := range c.Coordinators() {
			if !h.On() {
				continue
			}
			a := API{URL: "http://" + net.JoinHostPort(h.Addr(), strconv.Itoa(APIPort)), Token: c.secrets.Token, Node: h.Name}
			if err := a.ready(ctx); err != nil {
				problems = append(problems, err)
				continue
			}
			found = a
			return nil
		}
		return errors.Join(problems...)
	})
	return found, err
}

// TokenHeaderFile is a file with the header line that carries the token, for
// curl -H @FILE: so the token is in nobody's process list.
func (c *Cluster) TokenHeaderFile() string { return filepath.Join(c.options.dir(), "token-header") }

// Token is the one token of the cluster's API.
func (c *Cluster) Token() string { return c.secrets.Token }

func (a API) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, body, err := a.Call(ctx, http.MethodGet, "/readyz", nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s/readyz answers %d: %s", a.URL, status, body)
	}
	return err
}

// Call sends one request with values as a form body (as the query for GET) and
// returns status and body whatever the status is.
func (a API) Call(ctx context.Context, method, path string, values url.Values) (int, []byte, error) {
	target, body := a.URL+path, ""
	switch {
	case len(values) > 0 && method == http.MethodGet:
		target += "?" + values.Encode()
	case len(values) > 0:
		body = values.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("X-Api-Key", a.Token)
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	// No connection is kept: it would tie the caller to a host that may lose its power.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, b, err
}

// waitNodes waits until the API shows every host that has power as running, with
// its memory.
func (c *Cluster) waitNodes(ctx context.Context) error {
	return until(ctx, "all nodes to run", c.hosts[0].Path("/var/log/pvcd.log"), func() error {
		a, err := c.API(ctx)
		if err != nil {
			return err
		}
		status, body, err := a.Call(ctx, http.MethodGet, "/api/v1/node", nil)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("list of nodes: %d %s", status, body)
		}
		return c.allRun(body)
	})
}

func (c *Cluster) allRun(body []byte) error {
	var nodes []struct {
		Name        string `json:"name"`
		DaemonState string `json:"daemon_state"`
		Memory      struct {
			Total int `json:"total"`
		} `json:"memory"`
	}
	if err := json.Unmarshal(body, &nodes); err != nil {
		return fmt.Errorf("list of nodes: %w: %s", err, body)
	}
	states := map[string]string{}
	for _, n := range nodes {
		states[n.Name] = n.DaemonState
		if n.DaemonState == "run" && n.Memory.Total == 0 {
			states[n.Name] = "run, but has not reported its memory" // no guest can be placed there yet
		}
	}
	for _, h := range c.hosts {
		if h.On() && states[h.Name] != "run" {
			return fmt.Errorf("node %s is in state %q", h.Name, states[h.Name])
		}
	}
	return nil
}
