package model_test

import (
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

func TestTheHardwareAddressOfADHCPv6ClientIsInItsDUID(t *testing.T) {
	for duid, want := range map[string]string{
		"00:01:00:01:2a:00:00:00:52:54:00:00:00:66":             "52:54:00:00:00:66", // with a time
		"00:03:00:01:52:54:00:00:00:66":                         "52:54:00:00:00:66",
		"00:03:00:06:52:54:00:00:00:66":                         "", // no Ethernet
		"00:01:00:01:52:54:00:00:00:66":                         "", // cut off
		"00:03:00:01:52:54:00:00:00:66:01":                      "",
		"00:04:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00": "", // a UUID
		"00:02:00:00:ab:11:52:54:00:00:00:66":                   "",
		"":                                                      "",
	} {
		if got := (model.Lease6{DUID: duid}).MAC(); got != want {
			t.Errorf("%s: %q, want %q", duid, got, want)
		}
	}
}
