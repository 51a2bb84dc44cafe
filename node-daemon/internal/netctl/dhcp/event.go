package dhcp

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// The actions with which dnsmasq calls its script (dnsmasq(8), --dhcp-script). Others
// may come and mean nothing to us.
const (
	actionInit = "init"
	actionAdd  = "add"
	actionOld  = "old"
	actionDel  = "del"
)

// The variables that dnsmasq sets for its script and we have a use for.
const (
	envExpires    = "DNSMASQ_LEASE_EXPIRES"
	envClientID   = "DNSMASQ_CLIENT_ID"
	envHostname   = "DNSMASQ_SUPPLIED_HOSTNAME"
	envIAID       = "DNSMASQ_IAID"
	envServerDUID = "DNSMASQ_SERVER_DUID"
	envMAC        = "DNSMASQ_MAC"
)

var variables = []string{envExpires, envClientID, envHostname, envIAID, envServerDUID, envMAC}

// event is a change of a lease as dnsmasq tells it.
type event struct {
	action string
	lease  Lease  // without a name
	name   string // what the client calls itself, as it came; empty if it does not say
	mac    string // of the client; empty if it is not known
}

// parseEvent reads the arguments and variables of a call of the hook. Most of them were
// written by a guest.
func parseEvent(args []string, env map[string]string) (event, error) {
	if len(args) < 3 {
		return event{}, errs.Invalidf("%d arguments: an action, an identity and an address are needed", len(args))
	}
	e := event{action: args[0], name: env[envHostname]}
	var err error
	if e.lease.Address, err = netip.ParseAddr(args[2]); err != nil {
		return event{}, errs.Invalidf("address %q", model.Clip(args[2]))
	}
	if s := env[envExpires]; s != "" {
		if e.lease.Expiry, err = strconv.ParseInt(s, 10, 64); err != nil {
			return event{}, errs.Invalidf("expiry %q", model.Clip(s))
		}
	}
	if e.lease.Address.Is4() {
		e.lease.MAC, e.mac = args[1], args[1]
		e.lease.ClientID = "*"
		if id := strings.ToLower(env[envClientID]); id != "" {
			e.lease.ClientID = id
		}
		return e, e.lease.check()
	}
	e.lease.DUID, e.lease.IAID, e.lease.ServerDUID = args[1], env[envIAID], env[envServerDUID]
	if mac, err := model.ParseMAC(env[envMAC]); err == nil {
		e.mac = mac
	}
	return e, e.lease.check()
}

// macOf is the MAC address in a DUID that holds one (RFC 8415 section 11.2 and 11.4), or
// empty.
func macOf(duid string) string {
	hw := ""
	switch {
	case strings.HasPrefix(duid, "00:01:00:01:") && len(duid) == 14*3-1:
		hw = duid[8*3:]
	case strings.HasPrefix(duid, "00:03:00:01:") && len(duid) == 10*3-1:
		hw = duid[4*3:]
	}
	if mac, err := model.ParseMAC(hw); err == nil {
		return mac
	}
	return ""
}
