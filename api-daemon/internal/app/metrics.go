package app

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parallelvirtualcluster/pvc/common/obs"
	"github.com/parallelvirtualcluster/pvc/common/version"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// metrics are what pvc-api tells of itself.
type metrics struct {
	*obs.Metrics
	requests *prometheus.HistogramVec
}

func newMetrics(v *view.View) *metrics {
	m := &metrics{Metrics: obs.NewMetrics("pvc-api", version.Version), requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "pvc_api_request_seconds", Help: "Duration of requests by route and status.",
	}, []string{"method", "route", "status"})}
	m.MustRegister(m.requests, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pvc_api_view_stale_seconds", Help: "How long the view has not followed ZooKeeper; 0 while it does.",
	}, func() float64 {
		age, _ := v.Stale()
		return age.Seconds()
	}))
	return m
}

func (m *metrics) observe(method, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}
