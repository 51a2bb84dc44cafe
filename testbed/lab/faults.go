package lab

import (
	"os"
	"strings"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// DaemonFaults are reports in the logs of a cluster's daemons that no fault of the
// machine excuses: races, panics, and daemons without a log.
func DaemonFaults(c *testbed.Cluster) (faults []string) {
	for _, h := range c.Hosts() {
		faults = append(faults, logFaults(h, "pvcd.log")...)
	}
	for _, h := range c.Coordinators() {
		faults = append(faults, logFaults(h, "pvc-api.log")...)
	}
	return faults
}

func logFaults(h *host.Host, log string) (faults []string) {
	b, err := os.ReadFile(h.Path("/var/log/" + log))
	if err != nil {
		return []string{err.Error()}
	}
	for _, f := range FaultsIn(strings.Split(string(b), "\n")) {
		faults = append(faults, h.Name+" "+log+": "+f)
	}
	return faults
}

// reportLength is how many lines of a report are shown.
const reportLength = 30

// FaultsIn are the reports of races and panics in the lines of a log.
func FaultsIn(lines []string) (faults []string) {
	for i, line := range lines {
		race := strings.Contains(line, "WARNING: DATA RACE") && !libraryRace(lines[i:])
		if race || strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			faults = append(faults, strings.Join(lines[i:min(i+reportLength, len(lines))], "\n"))
		}
	}
	return faults
}

// libraryRace recognises the one race of go-zookeeper 1.0.4 with itself: when it
// reconnects it reads the last transaction's number beside its own receiver.
func libraryRace(report []string) bool {
	const accesses = 2
	found := 0
	for i := range min(len(report)-1, 12) {
		if strings.Contains(report[i], " at 0x") && strings.Contains(report[i], "by goroutine") &&
			strings.Contains(report[i+1], "go-zookeeper/zk.(*Conn)") {
			found++
		}
	}
	return found == accesses
}
