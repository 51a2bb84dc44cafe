package domxml

import (
	"math"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// scale returns the bytes of one unit as libvirt counts them (virScaleInteger): a
// letter alone or with "iB" is a power of 1024, with "B" a power of 1000, in any case;
// no unit is KiB.
func scale(unit string) (uint64, bool) {
	u := strings.ToLower(unit)
	switch u {
	case "":
		return kib, true
	case "b", "byte", "bytes":
		return 1, true
	}
	power := strings.IndexByte("kmgtpe", u[0])
	if power < 0 {
		return 0, false
	}
	base := uint64(1024)
	switch u[1:] {
	case "", "ib":
	case "b":
		base = 1000
	default:
		return 0, false
	}
	factor := base
	for range power {
		factor *= base
	}
	return factor, true
}

// memoryBytes reads a scaled number such as <memory unit='GiB'>4</memory>.
func memoryBytes(number, unit string) (uint64, error) {
	factor, ok := scale(unit)
	if !ok {
		return 0, errs.Invalidf("memory unit %q is unknown", model.Clip(unit))
	}
	v, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, errs.Invalidf("memory %q is not a number", model.Clip(number))
	}
	if v > math.MaxInt64/factor {
		return 0, errs.Invalidf("memory %s %s is too large", model.Clip(number), unit)
	}
	return v * factor, nil
}

// toMiB rounds up: a guest never gets less than it is counted for.
func toMiB(bytes uint64) int {
	return int((bytes + mib - 1) / mib)
}
