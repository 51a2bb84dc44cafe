package liveness

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// memory is the host's memory, MiB.
type memory struct{ Total, Used, Free int }

// parseMeminfo reads /proc/meminfo. Free is what the kernel could give to a new
// process without swapping (MemAvailable); used is the rest.
func parseMeminfo(text string) (memory, error) {
	total, err := meminfoField(text, "MemTotal")
	if err != nil {
		return memory{}, err
	}
	available, err := meminfoField(text, "MemAvailable")
	if err != nil {
		return memory{}, err
	}
	available = min(available, total)
	return memory{Total: total, Used: total - available, Free: available}, nil
}

// meminfoField returns a field in MiB; the kernel prints KiB.
func meminfoField(text, name string) (int, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) == 2 && fields[1] == "kB" {
			if kib, err := strconv.ParseUint(fields[0], 10, 52); err == nil {
				return int(kib >> 10), nil
			}
		}
		return 0, errs.New(errs.Internal, "/proc/meminfo: %s: %q is not a number of kB", name, strings.TrimSpace(rest))
	}
	return 0, errs.New(errs.Internal, "/proc/meminfo: no %s", name)
}

// parseLoad returns the 1-minute average of /proc/loadavg as the kernel prints it.
func parseLoad(text string) (string, error) {
	first, _, _ := strings.Cut(text, " ")
	if _, err := strconv.ParseFloat(first, 64); err != nil {
		return "", errs.New(errs.Internal, "/proc/loadavg: %q is not a number", first)
	}
	return first, nil
}

func readHostFigures() (memory, string, error) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return memory{}, "", err
	}
	mem, err := parseMeminfo(string(info))
	if err != nil {
		return memory{}, "", err
	}
	avg, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return memory{}, "", err
	}
	load, err := parseLoad(string(avg))
	if err != nil {
		return memory{}, "", fmt.Errorf("load: %w", err)
	}
	return mem, load, nil
}
