package libvirt

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

func TestQEMUsStatusTellsWhyAGuestIsPaused(t *testing.T) {
	for status, want := range map[string]hypervisor.PauseReason{
		"prelaunch": hypervisor.PausedStart, "paused": hypervisor.PausedByRequest, "inmigrate": hypervisor.PausedIncoming,
		"postmigrate": hypervisor.PausedOutgoing, "finish-migrate": hypervisor.PausedOutgoing,
		"io-error": hypervisor.PausedError, "guest-panicked": hypervisor.PausedError, "running": hypervisor.PausedOther,
	} {
		text := fmt.Sprintf(`{"return":{"running":false,"singlestep":false,"status":%q},"id":"libvirt-12"}`, status)
		if got := pauseOfStatus(text); got != want {
			t.Errorf("%s: %d, want %d", status, got, want)
		}
	}
	for _, text := range []string{"", "{", `{"return":{}}`, `{"error":{"class":"GenericError"}}`, `{"return":"paused"}`} {
		if got := pauseOfStatus(text); got != hypervisor.PausedOther {
			t.Errorf("%q: %d, want other", text, got)
		}
	}
}

func TestVanishedQEMUIsACrashOnlyIfTheGuestHasExecuted(t *testing.T) {
	for _, c := range []struct {
		detail lv.DomainEventStoppedDetailType
		held   bool
		want   hypervisor.StopReason
	}{
		{lv.DOMAIN_EVENT_STOPPED_FAILED, true, hypervisor.StoppedFailed},
		{lv.DOMAIN_EVENT_STOPPED_FAILED, false, hypervisor.StoppedCrashed},
		{lv.DOMAIN_EVENT_STOPPED_CRASHED, false, hypervisor.StoppedCrashed},
		{lv.DOMAIN_EVENT_STOPPED_SHUTDOWN, false, hypervisor.StoppedShutdown},
		{lv.DOMAIN_EVENT_STOPPED_DESTROYED, true, hypervisor.StoppedDestroyed},
		{lv.DOMAIN_EVENT_STOPPED_MIGRATED, false, hypervisor.StoppedMigrated},
		{lv.DOMAIN_EVENT_STOPPED_SAVED, false, hypervisor.StoppedUnknown},
	} {
		if got := stopReason(c.detail, c.held); got != c.want {
			t.Errorf("stopReason(%d, %v) = %d, want %d", c.detail, c.held, got, c.want)
		}
	}
}

func TestErrorsKeepLibvirtsWordsAndGetAKind(t *testing.T) {
	of := func(n lv.ErrorNumber) error { return lv.Error{Code: n, Message: "its own words"} }
	for _, c := range []struct {
		err   error
		alive bool
		e     effect
		want  errs.Kind
	}{
		{of(lv.ERR_NO_DOMAIN), true, changes, errs.NotFound},
		{of(lv.ERR_OPERATION_INVALID), true, changes, errs.Conflict},
		{of(lv.ERR_XML_ERROR), true, changes, errs.Invalid},
		{of(lv.ERR_INTERNAL_ERROR), true, changes, errs.Internal},
		{of(lv.ERR_INTERNAL_ERROR), false, reads, errs.Unavailable},
		{of(lv.ERR_INTERNAL_ERROR), false, changes, errs.Unknown},
		{errs.Conflictf("its own words"), true, changes, errs.Conflict},
		{fmt.Errorf("its own words"), true, reads, errs.Internal},
	} {
		got := classify(c.err, c.alive, c.e)
		if errs.KindOf(got) != c.want || !strings.HasSuffix(got.Error(), "its own words") {
			t.Errorf("classify(%v, %v, %v) = %v (%v), want %v", c.err, c.alive, c.e, got, errs.KindOf(got), c.want)
		}
	}
	if isNumber(nil, lv.ERR_OK) || isNumber(errors.New("x"), lv.ERR_OK) {
		t.Error("an error of no libvirt call has a number")
	}
}

const capabilities = `<capabilities>
  <host><uuid>00000000-0000-4000-8000-000000000001</uuid><cpu><arch>x86_64</arch><model>EPYC</model></cpu></host>
  <guest><os_type>hvm</os_type><arch name='i686'><machine>isapc</machine><domain type='qemu'/></arch></guest>
  <guest><os_type>hvm</os_type><arch name='x86_64'>
    <machine canonical='pc-i440fx-7.2' maxCpus='255'>pc</machine><machine maxCpus='255'>pc-i440fx-7.2</machine>
    <domain type='qemu'/><domain type='kvm'><machine canonical='pc-q35-7.2'>q35</machine></domain>
  </arch></guest>
</capabilities>`

func TestCapabilitiesNameMachinesOfTheGuestsArchitecture(t *testing.T) {
	got, err := parseCapabilities(capabilities)
	must(t, err)
	want := hypervisor.HostInfo{CPUModel: "EPYC", UUID: "00000000-0000-4000-8000-000000000001", KVM: true,
		Machines: []string{"pc", "pc-i440fx-7.2", "pc-q35-7.2", "q35"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err = parseCapabilities(strings.ReplaceAll(capabilities, "type='kvm'", "type='qemu'"))
	if err != nil || got.KVM {
		t.Errorf("without a kvm domain type: %+v, %v", got, err)
	}
}

func FuzzParseCapabilities(f *testing.F) {
	f.Add(capabilities)
	f.Add("<capabilities><host/></capabilities>")
	f.Add("<capabilities>")
	f.Fuzz(func(t *testing.T, text string) {
		info, err := parseCapabilities(text)
		for _, m := range info.Machines {
			if err == nil && m == "" {
				t.Error("a machine type without a name")
			}
		}
	})
}

func TestVersionsAreWrittenAsTheirMakersDo(t *testing.T) {
	for v, want := range map[uint32]string{9000000: "9.0.0", 7002022: "7.2.22", 11010000: "11.10.0"} {
		if got := dotted(v); got != want {
			t.Errorf("%d: %s, want %s", v, got, want)
		}
	}
}

func TestMigrationAsksForNoMoreThanTheOptionsSay(t *testing.T) {
	params, flags := migrateParameters(hypervisor.MigrateOptions{})
	if diff := cmp.Diff(&lv.DomainMigrateParameters{}, params); diff != "" || flags != lv.MIGRATE_LIVE|lv.MIGRATE_PEER2PEER|lv.MIGRATE_PAUSED {
		t.Errorf("flags %b, parameters:\n%s", flags, diff)
	}
	params, flags = migrateParameters(hypervisor.MigrateOptions{MigrateURI: "tcp://hv2", BandwidthMiB: 6, UnsafeStorage: true, TLS: true})
	if params.URI != "tcp://hv2" || params.Bandwidth != 6 || flags&lv.MIGRATE_UNSAFE == 0 || flags&lv.MIGRATE_TLS == 0 {
		t.Errorf("flags %b, parameters %+v", flags, params)
	}
	if flags&(lv.MIGRATE_PERSIST_DEST|lv.MIGRATE_UNDEFINE_SOURCE) != 0 {
		t.Error("a migrated guest would get a definition")
	}
}
