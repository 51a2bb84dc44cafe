package obs

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the metrics of one daemon. Packages register theirs in it; there is no
// global registry, so that tests and several daemons in one process do not meet.
type Metrics struct{ *prometheus.Registry }

// NewMetrics returns a registry with the metrics of the Go runtime, of the process,
// and pvc_build_info{program,version} = 1.
func NewMetrics(program, version string) *Metrics {
	m := &Metrics{prometheus.NewRegistry()}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "pvc_build_info",
		Help:        "The running program and its version, as labels.",
		ConstLabels: prometheus.Labels{"program": program, "version": version},
	})
	info.Set(1)
	m.MustRegister(
		info,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler serves the metrics in the Prometheus exposition format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{Registry: m.Registry})
}
