package libvirt

import (
	"encoding/json"
	"fmt"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// lookup describes the domain with the UUID, Absent if there is none.
func lookup(c *lv.Connect, uuid string) (hypervisor.Domain, error) {
	dom, err := c.LookupDomainByUUIDString(uuid)
	if isNumber(err, lv.ERR_NO_DOMAIN) {
		return hypervisor.Domain{UUID: uuid}, nil
	}
	if err != nil {
		return hypervisor.Domain{}, err
	}
	defer free(dom)
	return describe(dom)
}

// describe reads a domain's facts. One that vanishes meanwhile is Absent.
func describe(dom *lv.Domain) (hypervisor.Domain, error) {
	d, err := readDomain(dom)
	if isNumber(err, lv.ERR_NO_DOMAIN) {
		return hypervisor.Domain{UUID: d.UUID, Name: d.Name}, nil
	}
	return d, err
}

func readDomain(dom *lv.Domain) (d hypervisor.Domain, err error) {
	if d.UUID, err = dom.GetUUIDString(); err != nil {
		return d, err
	}
	if d.Name, err = dom.GetName(); err != nil {
		return d, err
	}
	if d.Persistent, err = dom.IsPersistent(); err != nil {
		return d, err
	}
	if d.Persistent {
		if d.Autostart, err = dom.GetAutostart(); err != nil {
			return d, err
		}
	}
	info, err := dom.GetInfo()
	if err != nil {
		return d, err
	}
	d.MemoryMiB, d.VCPUs = int(info.Memory/1024), int(info.NrVirtCpu)
	return d, readState(dom, &d)
}

// readState fills State, Pause and Migrating.
func readState(dom *lv.Domain, d *hypervisor.Domain) error {
	state, reason, err := dom.GetState()
	if err != nil {
		return err
	}
	switch state {
	case lv.DOMAIN_RUNNING, lv.DOMAIN_BLOCKED, lv.DOMAIN_SHUTDOWN:
		d.State = hypervisor.Running
		job, err := readJob(dom)
		d.Migrating = job == jobOutgoing
		return err
	case lv.DOMAIN_PAUSED:
		d.State = hypervisor.Paused
		return readPause(dom, lv.DomainPausedReason(reason), d)
	case lv.DOMAIN_PMSUSPENDED:
		d.State = hypervisor.Paused
	case lv.DOMAIN_SHUTOFF:
		d.State = hypervisor.Absent
	case lv.DOMAIN_CRASHED:
		d.State = hypervisor.Stopping
	default:
		return fmt.Errorf("domain %s is in the unknown state %d", d.UUID, state)
	}
	return nil
}

// readPause tells apart what libvirt calls by one name: both ends of a migration are
// "migrating", and a guest that was created paused, has arrived paused or was
// suspended is "paused by user".
func readPause(dom *lv.Domain, reason lv.DomainPausedReason, d *hypervisor.Domain) error {
	if reason == lv.DOMAIN_PAUSED_STARTING_UP {
		// QEMU is not there yet, and may not be for long: it opens its disks first. Until
		// then libvirt answers no question about jobs.
		d.Pause = hypervisor.PausedStart
		return nil
	}
	job, err := readJob(dom)
	if err != nil {
		return err
	}
	d.Migrating = job == jobOutgoing
	switch {
	case job == jobIncoming:
		d.Pause = hypervisor.PausedIncoming
	case job == jobOutgoing, reason == lv.DOMAIN_PAUSED_MIGRATION:
		// Without a job it is a source whose libvirtd was killed at the end of the
		// transfer; that of a target kills its guest.
		d.Pause = hypervisor.PausedOutgoing
	case reason == lv.DOMAIN_PAUSED_USER:
		d.Pause = askQEMU(dom)
	case reason == lv.DOMAIN_PAUSED_IOERROR, reason == lv.DOMAIN_PAUSED_WATCHDOG, reason == lv.DOMAIN_PAUSED_CRASHED:
		d.Pause = hypervisor.PausedError
	}
	return nil
}

type job uint8

const (
	noJob job = iota
	jobIncoming
	jobOutgoing
)

// readJob says whether a migration is under way. libvirt 9 refuses the statistics of
// an incoming one.
func readJob(dom *lv.Domain) (job, error) {
	stats, err := dom.GetJobStats(0)
	switch {
	case isNumber(err, lv.ERR_OPERATION_UNSUPPORTED):
		return jobIncoming, nil
	case isNumber(err, lv.ERR_OPERATION_INVALID): // it is not active any more
		return noJob, nil
	case err != nil:
		return noJob, err
	case stats.Type == lv.DOMAIN_JOB_NONE || !stats.OperationSet:
		return noJob, nil
	case stats.Operation == lv.DOMAIN_JOB_OPERATION_MIGRATION_IN:
		return jobIncoming, nil
	case stats.Operation == lv.DOMAIN_JOB_OPERATION_MIGRATION_OUT:
		return jobOutgoing, nil
	}
	return noJob, nil
}

// qemuPatience bounds the wait for a monitor: a stopped QEMU must not hold up the
// list of all the others.
const qemuPatience = 3 * time.Second

// askQEMU tells a guest that has never executed from one that has. The answer is
// PausedOther when QEMU gives none.
func askQEMU(dom *lv.Domain) hypervisor.PauseReason {
	if err := dom.Ref(); err != nil {
		return hypervisor.PausedOther
	}
	answered := make(chan string, 1)
	go func() {
		defer free(dom)
		text, err := dom.QemuMonitorCommand(`{"execute":"query-status"}`, lv.DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT)
		if err != nil {
			text = ""
		}
		answered <- text
	}()
	patience := time.NewTimer(qemuPatience)
	defer patience.Stop()
	select {
	case text := <-answered:
		return pauseOfStatus(text)
	case <-patience.C:
		return hypervisor.PausedOther
	}
}

// pauseOfStatus reads the answer to query-status (QEMU's RunState).
func pauseOfStatus(text string) hypervisor.PauseReason {
	var answer struct {
		Return struct {
			Status string `json:"status"`
		} `json:"return"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return hypervisor.PausedOther
	}
	switch answer.Return.Status {
	case "prelaunch":
		return hypervisor.PausedStart
	case "paused", "suspended":
		return hypervisor.PausedByRequest
	case "inmigrate":
		return hypervisor.PausedIncoming
	case "postmigrate", "finish-migrate":
		return hypervisor.PausedOutgoing
	case "io-error", "watchdog", "guest-panicked", "internal-error":
		return hypervisor.PausedError
	}
	return hypervisor.PausedOther
}
