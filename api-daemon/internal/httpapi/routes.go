package httpapi

import (
	"math"
	"net/http"
	"slices"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// route is one row of the table.
type route struct {
	method, path string
	values       []value
	access       access
	cluster      bool // needs the state of the cluster
	rawXML       bool // the body may be a bare XML document, the value xml
	// waits says that a change is answered at its end, and that its context only bounds
	// the waiting.
	waits  bool
	handle func(*API, *request) (*reply, error)
}

// access says who may call a route.
type access uint8

const (
	byToken access = iota // with a token or a session
	open                  // everybody
	metrics               // everybody if so configured, else with a token
)

// changes reports whether the route changes the cluster: it then leaves an audit line.
func (r *route) changes() bool { return r.cluster && r.method != http.MethodGet }

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
)

// Values that several routes have. none is how newer clients say "not given".
var (
	limit    = value{name: "limit", kind: pattern}
	node     = value{name: "node", kind: text}
	selector = value{name: "selector", kind: word, words: []string{"mem", "vcpus", "load", "vms"}, unset: []string{"none"}}
	wait     = value{name: "wait", kind: flag}
	force    = value{name: "force", kind: flag}
	xml      = value{name: "xml", kind: text, need: true}
	confirm  = value{name: "yes_i_really_mean_it", also: []string{"yes-i-really-mean-it"}, kind: flag}

	token      = value{name: "token", kind: secret}
	tokenValue = value{name: "token", kind: secret, need: true}
	next       = value{name: "next", kind: text}

	daemonState      = value{name: "daemon_state", kind: word, words: []string{"init", "run", "shutdown", "stop", "dead"}}
	coordinatorState = value{name: "coordinator_state", kind: word, words: []string{"primary", "secondary", "client", "takeover", "relinquish"}}
	domainState      = value{name: "domain_state", kind: word, words: []string{"ready", "flush", "flushed", "unflush"}}
	vmState          = value{name: "state", kind: word, words: []string{"start", "restart", "shutdown", "stop", "failed", "migrate", "delete"}}

	newCoordinatorState = value{name: "coordinator-state", also: []string{"state"}, kind: word, need: true, words: []string{"primary", "secondary"}}
	newDomainState      = value{name: "domain-state", also: []string{"state"}, kind: word, need: true, words: []string{"flush", "ready"}}
	newVMState          = value{name: "state", kind: word, need: true, words: []string{"start", "shutdown", "stop", "restart"}}
	vmAction            = value{name: "action", kind: word, need: true, words: []string{"migrate", "unmigrate", "move"}}

	vni          = value{name: "vni", kind: number, min: 1, max: model.MaxVXLAN}
	description  = value{name: "description", kind: text}
	networkType  = value{name: "nettype", kind: word, words: []string{"bridged", "managed"}}
	mtu          = value{name: "mtu", kind: number, min: cluster.MinMTU, max: cluster.MaxMTU, unset: notSet}
	dnsDomain    = value{name: "domain", kind: text, unset: notSet}
	nameServers  = value{name: "name_servers", kind: list, unset: notSet}
	ip4Network   = value{name: "ip4_network", kind: text, unset: notSet}
	ip4Gateway   = value{name: "ip4_gateway", kind: text, unset: notSet}
	dhcp4Start   = value{name: "dhcp4_start", kind: text, unset: notSet}
	dhcp4End     = value{name: "dhcp4_end", kind: text, unset: notSet}
	ip6Network   = value{name: "ip6_network", kind: text, unset: notSet}
	ip6Gateway   = value{name: "ip6_gateway", kind: text, unset: notSet}
	macAddress   = value{name: "macaddress", kind: text, need: true}
	ipAddress    = value{name: "ipaddress", kind: text, need: true}
	hostname     = value{name: "hostname", kind: text, unset: notSet}
	static       = value{name: "static", kind: flag}
	direction    = value{name: "direction", kind: word, words: []string{"in", "out"}}
	ruleText     = value{name: "rule", kind: text, need: true}
	rulePosition = value{name: "order", kind: number, max: math.MaxInt32, unset: notSet}

	lines = value{name: "lines", kind: number, min: 1, max: 1_000_000}
)

// notSet is how network values that are not set are shown; given back it means the same.
var notSet = []string{"None", "none"}

// needs is a value that must be given.
func needs(v value) value { v.need = true; return v }

// clears is a value that takes away what is stored when it is given empty.
func clears(v value) value { v.clears = true; return v }

// inert describes a value of newer clients that has no effect yet.
func inert(name string, doNothing ...string) value {
	return value{name: name, kind: idle, unset: doNothing}
}

// table is the API.
var table = slices.Concat(general, storageTable)

var general = []route{
	{method: get, path: "/api/v1", access: open, handle: (*API).getRoot},
	{method: get, path: "/api/v1/", access: open, handle: (*API).getVersion},
	{method: get, path: "/healthz", access: open, handle: (*API).getHealth},
	{method: get, path: "/readyz", access: open, handle: (*API).getReadiness},
	{method: get, path: "/metrics", access: metrics, handle: (*API).getMetrics},
	{method: get, path: "/api/v1/metrics", access: metrics, handle: (*API).getMetrics},

	{method: get, path: "/api/v1/auth/login", access: open, values: []value{next}, handle: (*API).getLogin},
	{method: post, path: "/api/v1/auth/login", access: open, values: []value{tokenValue, next}, handle: (*API).postLogin},
	{method: get, path: "/api/v1/auth/logout", access: open, values: []value{next}, handle: (*API).logout},
	{method: post, path: "/api/v1/auth/logout", access: open, values: []value{next}, handle: (*API).logout},
	{method: post, path: "/api/v1/login", access: open, values: []value{tokenValue, next}, handle: (*API).postLogin},
	{method: post, path: "/api/v1/logout", access: open, values: []value{next}, handle: (*API).logout},

	{method: get, path: "/api/v1/status/primary_node", cluster: true, handle: (*API).getPrimaryNode},

	{method: get, path: "/api/v1/node", cluster: true, values: []value{limit, daemonState, coordinatorState, domainState}, handle: (*API).listNodes},
	{method: get, path: "/api/v1/node/{node}", cluster: true, handle: (*API).getNode},
	{method: del, path: "/api/v1/node/{node}", cluster: true, values: []value{confirm}, handle: (*API).deleteNode},
	{method: get, path: "/api/v1/node/{node}/daemon-state", cluster: true, handle: (*API).getDaemonState},
	{method: get, path: "/api/v1/node/{node}/coordinator-state", cluster: true, handle: (*API).getCoordinatorState},
	{method: post, path: "/api/v1/node/{node}/coordinator-state", cluster: true, values: []value{newCoordinatorState, wait}, handle: (*API).setCoordinatorState},
	{method: get, path: "/api/v1/node/{node}/domain-state", cluster: true, handle: (*API).getDomainState},
	{method: post, path: "/api/v1/node/{node}/domain-state", cluster: true, values: []value{newDomainState, wait}, handle: (*API).setDomainState},

	{method: get, path: "/api/v1/vm", cluster: true, values: []value{limit, node, vmState, inert("tag"), inert("negate")}, handle: (*API).listVMs},
	{method: post, path: "/api/v1/vm", cluster: true, values: []value{xml, node, selector, inert("limit"), inert("autostart"), inert("migration_method"),
		inert("migration_max_downtime", "300"), inert("user_tags"), inert("protected_tags")}, handle: (*API).defineVM},
	{method: get, path: "/api/v1/vm/{vm}", cluster: true, handle: (*API).getVM},
	{method: post, path: "/api/v1/vm/{vm}", cluster: true, handle: (*API).createFromTemplate},
	{method: put, path: "/api/v1/vm/{vm}", cluster: true, rawXML: true, values: []value{xml, {name: "restart", kind: flag}}, handle: (*API).modifyVM},
	{method: del, path: "/api/v1/vm/{vm}", cluster: true, waits: true, values: []value{{name: "delete_disks", kind: flag}}, handle: (*API).deleteVM},
	{method: get, path: "/api/v1/vm/{vm}/state", cluster: true, handle: (*API).getVMState},
	{method: post, path: "/api/v1/vm/{vm}/state", cluster: true, values: []value{newVMState, force, wait}, handle: (*API).setVMState},
	{method: get, path: "/api/v1/vm/{vm}/node", cluster: true, handle: (*API).getVMNode},
	{method: post, path: "/api/v1/vm/{vm}/node", cluster: true, values: []value{vmAction, node, selector, {name: "permanent", kind: flag}, force,
		{name: "force_live", kind: flag}, wait}, handle: (*API).setVMNode},
	{method: get, path: "/api/v1/vm/{vm}/dump", cluster: true, handle: (*API).dumpVM},
	{method: get, path: "/api/v1/vm/{vm}/console", cluster: true, values: []value{lines}, handle: (*API).getConsole},

	{method: get, path: "/api/v1/network", cluster: true, values: []value{limit}, handle: (*API).listNetworks},
	{method: post, path: "/api/v1/network", cluster: true, values: []value{needs(vni), needs(description), needs(networkType), mtu, dnsDomain, nameServers,
		ip4Network, ip4Gateway, {name: "dhcp4", kind: flag}, dhcp4Start, dhcp4End, ip6Network, ip6Gateway}, handle: (*API).createNetwork},
	{method: get, path: "/api/v1/network/{network}", cluster: true, handle: (*API).getNetwork},
	{method: put, path: "/api/v1/network/{network}", cluster: true, values: []value{vni, description, networkType, clears(mtu), clears(dnsDomain), clears(nameServers),
		clears(ip4Network), clears(ip4Gateway), {name: "dhcp4", kind: toggle}, clears(dhcp4Start), clears(dhcp4End),
		clears(ip6Network), clears(ip6Gateway)}, handle: (*API).modifyNetwork},
	{method: del, path: "/api/v1/network/{network}", cluster: true, handle: (*API).deleteNetwork},

	{method: get, path: "/api/v1/network/{network}/lease", cluster: true, values: []value{limit, static}, handle: (*API).listLeases},
	{method: get, path: "/api/v1/network/{network}/dhcp", cluster: true, values: []value{limit, static}, handle: (*API).listLeases},
	{method: post, path: "/api/v1/network/{network}/lease", cluster: true, values: []value{macAddress, ipAddress, hostname}, handle: (*API).addLease},
	{method: post, path: "/api/v1/network/{network}/dhcp", cluster: true, values: []value{macAddress, ipAddress, hostname}, handle: (*API).addLease},
	{method: get, path: "/api/v1/network/{network}/lease/{lease}", cluster: true, handle: (*API).getLease},
	{method: get, path: "/api/v1/network/{network}/dhcp/{lease}", cluster: true, handle: (*API).getLease},
	{method: del, path: "/api/v1/network/{network}/lease/{lease}", cluster: true, handle: (*API).deleteLease},
	{method: del, path: "/api/v1/network/{network}/dhcp/{lease}", cluster: true, handle: (*API).deleteLease},

	{method: get, path: "/api/v1/network/{network}/acl", cluster: true, values: []value{limit, direction}, handle: (*API).listACLs},
	{method: post, path: "/api/v1/network/{network}/acl", cluster: true, values: []value{needs(description), needs(direction), ruleText, rulePosition},
		handle: (*API).addACL},
	{method: get, path: "/api/v1/network/{network}/acl/{acl}", cluster: true, handle: (*API).getACL},
	{method: del, path: "/api/v1/network/{network}/acl/{acl}", cluster: true, values: []value{direction}, handle: (*API).deleteACL},
}
