package bench

import (
	"slices"
	"testing"
	"time"
)

// percentile of durations, p from 0 to 1; the smallest value that so many are not above.
func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	i := int(p*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func median[T float64 | time.Duration](v []T) T {
	sorted := slices.Sorted(slices.Values(v))
	return sorted[len(sorted)/2]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// figures replaces the time per operation, which says nothing here, by what was
// measured.
func figures(b *testing.B, values map[string]float64) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	for unit, v := range values {
		b.ReportMetric(v, unit)
	}
}

func TestPercentileIsAValueThatWasMeasured(t *testing.T) {
	var d []time.Duration
	for i := 20; i > 0; i-- {
		d = append(d, time.Duration(i))
	}
	for p, want := range map[float64]time.Duration{0: 1, 0.5: 10, 0.95: 19, 0.99: 20, 1: 20} {
		if got := percentile(d, p); got != want {
			t.Errorf("percentile %v of 1…20 is %d, want %d", p, got, want)
		}
	}
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}
