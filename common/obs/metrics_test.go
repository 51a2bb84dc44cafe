package obs

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsAreServedFromARegistryOfTheirOwn(t *testing.T) {
	m, other := NewMetrics("pvcd", "1.0"), NewMetrics("pvc-api", "1.0")
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "pvc_test_total", Help: "A test."})
	m.MustRegister(c)
	c.Inc()
	get := func(m *Metrics) string {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if w.Code != 200 {
			t.Errorf("status %d", w.Code)
		}
		return w.Body.String()
	}
	text := get(m)
	for _, want := range []string{`pvc_build_info{program="pvcd",version="1.0"} 1`, "pvc_test_total 1", "go_goroutines", "process_open_fds"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(get(other), "pvc_test_total") {
		t.Error("two registries share a metric")
	}
}
