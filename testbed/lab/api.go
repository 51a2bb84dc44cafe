package lab

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
)

// Lab is a cluster that a test asks.
type Lab struct {
	Cluster  *testbed.Cluster
	Images   guest.Images  // at a path that all hosts have
	Records  coord.Client  // a connection to the ensemble: an observer, or an old client
	Deadline time.Duration // of every wait for something that takes a moment
}

// Must ends the test if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Within waits until check returns no error and fails with its last one otherwise.
func Within(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		last := check()
		if last == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, limit, last)
		}
	}
}

// Until is Within for a check that says in words what is still wrong, "" if nothing.
func Until(t testing.TB, limit time.Duration, what string, check func() string) {
	t.Helper()
	Within(t, limit, what, func() error {
		if wrong := check(); wrong != "" {
			return errors.New(wrong)
		}
		return nil
	})
}

// Ask calls the API of the primary with values given as names and texts in turn; while
// none answers, or says that nothing was changed, it asks again.
func (l *Lab) Ask(t testing.TB, method, path string, values ...string) (status int, body string) {
	t.Helper()
	v := url.Values{}
	for i := 0; i+1 < len(values); i += 2 {
		v.Add(values[i], values[i+1])
	}
	Within(t, l.Deadline, method+" "+path, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), l.Deadline)
		defer cancel()
		api, err := l.Cluster.API(ctx)
		if err != nil {
			return err
		}
		code, b, err := api.Call(ctx, method, "/api/v1"+path, v)
		if err == nil && code == http.StatusServiceUnavailable {
			err = errors.New(string(b))
		}
		status, body = code, string(b)
		return err
	})
	return status, body
}

// Do is Ask for what must succeed.
func (l *Lab) Do(t testing.TB, method, path string, values ...string) string {
	t.Helper()
	status, body := l.Ask(t, method, path, values...)
	if status != http.StatusOK {
		t.Fatalf("%s %s %v: %d %s", method, path, values, status, body)
	}
	return body
}

// List is a GET of a list.
func List[T any](l *Lab, t testing.TB, path string) (out []T) {
	t.Helper()
	Must(t, json.Unmarshal([]byte(l.Do(t, http.MethodGet, path)), &out))
	return out
}
