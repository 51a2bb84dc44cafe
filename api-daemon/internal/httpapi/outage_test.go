package httpapi

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
)

// A commit that is under way when ZooKeeper falls silent is given 2 s, and the answer
// some time on a busy machine.
const outageAnswer = 3 * time.Second

// decision: 503
// decision: `/readyz`
func TestOutageOfZooKeeperRefusesChangesInTimeAndMarksReads(t *testing.T) {
	var proxy *coordtest.Proxy
	a := realAPI(t, func(servers []string) []string {
		proxy = coordtest.NewProxy(t, servers)
		return proxy.Addrs()
	})
	call := func(method, target string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, asked(method, target))
		return w
	}
	change := func() *httptest.ResponseRecorder {
		begin := time.Now()
		w := call("POST", "/api/v1/vm/web1/state?state=start")
		if took := time.Since(begin); took > outageAnswer {
			t.Errorf("a change was answered after %v", took)
		}
		return w
	}
	if w := call("POST", "/api/v1/vm?node=hv1&xml="+url.QueryEscape(tiny)); w.Code != 200 {
		t.Fatalf("define: %d %s", w.Code, w.Body)
	}
	proxy.Stall()
	if w := change(); w.Code != 503 || !strings.Contains(messageOf(t, w), "outcome") {
		t.Errorf("before the outage is known: %d %s", w.Code, w.Body)
	}
	coordtest.Eventually(t, "the view is stale", func() bool { return call("GET", "/readyz").Code == 503 })
	if w := change(); w.Code != 503 || !strings.HasPrefix(messageOf(t, w), "nothing was changed") {
		t.Errorf("during the outage: %d %s", w.Code, w.Body)
	}
	if w := call("GET", "/api/v1/vm"); w.Code != 200 || w.Header().Get("X-PVC-Stale") == "" || !strings.Contains(w.Body.String(), "web1") {
		t.Errorf("a read during the outage: %d %v", w.Code, w.Header())
	}
	proxy.Flow()
	coordtest.Eventually(t, "the view follows again", func() bool { return call("GET", "/readyz").Code == 200 })
	if w := call("GET", "/api/v1/vm/web1"); w.Code != 200 || w.Header().Get("X-PVC-Stale") != "" {
		t.Errorf("a read after the outage: %d %v", w.Code, w.Header())
	}
	if w := change(); w.Code != 200 {
		t.Errorf("after the outage: %d %s", w.Code, w.Body)
	}
}
