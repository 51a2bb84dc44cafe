package httpapi

import "net/http"

// route is one row of the table.
type route struct {
	method, path string
	values       []value
	access       access
	cluster      bool // needs the state of the cluster
	rawXML       bool // the body may be a bare XML document, the value xml
	handle       func(*API, *request) (*reply, error)
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

	lines = value{name: "lines", kind: number, min: 1, max: 1_000_000}
)

// inert describes a value of newer clients that has no effect yet.
func inert(name string, doNothing ...string) value {
	return value{name: name, kind: idle, unset: doNothing}
}

// table is the API.
var table = []route{
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
	{method: del, path: "/api/v1/vm/{vm}", cluster: true, values: []value{{name: "delete_disks", kind: flag}}, handle: (*API).deleteVM},
	{method: get, path: "/api/v1/vm/{vm}/state", cluster: true, handle: (*API).getVMState},
	{method: post, path: "/api/v1/vm/{vm}/state", cluster: true, values: []value{newVMState, force, wait}, handle: (*API).setVMState},
	{method: get, path: "/api/v1/vm/{vm}/node", cluster: true, handle: (*API).getVMNode},
	{method: post, path: "/api/v1/vm/{vm}/node", cluster: true, values: []value{vmAction, node, selector, {name: "permanent", kind: flag}, force,
		{name: "force_live", kind: flag}, wait}, handle: (*API).setVMNode},
	{method: get, path: "/api/v1/vm/{vm}/dump", cluster: true, handle: (*API).dumpVM},
	{method: get, path: "/api/v1/vm/{vm}/console", cluster: true, values: []value{lines}, handle: (*API).getConsole},

	{method: get, path: "/api/v1/network", cluster: true, values: []value{limit}, handle: (*API).listNetworks},
}
