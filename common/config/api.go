package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// API is pvc-api.yaml.
type API struct {
	File         string // where it was read from
	Name         string // of the node that pvc-api runs on; default: the short host name
	Debug        bool   // verbose log
	Coordinators []Endpoint
	ZooKeeper    ZooKeeper

	ListenAddress string // IP address or host name
	ListenPort    int
	// FollowPrimary: listen only while the own node is the primary.
	FollowPrimary bool
	Auth          Auth
	TLS           TLS

	VMPolicy VMPolicy
	// VMFileDirs are the directories below which a VM may have image files; absolute paths.
	VMFileDirs []string
	// MetricsWithoutToken: /metrics answers to everybody.
	MetricsWithoutToken bool
}

// Auth says who may use the API.
type Auth struct {
	Enabled   bool
	SecretKey Secret // for session cookies, at least MinSecretKey characters if enabled
	Tokens    []Token
}

// MinSecretKey is the shortest key for session cookies, in bytes.
const MinSecretKey = 32

// Token opens the API to who knows it.
type Token struct {
	Description string // for people and audit lines
	Token       Secret
}

// TLS is the certificate of the listener.
type TLS struct {
	Enabled           bool
	CertFile, KeyFile string
}

// VMPolicy says what the XML of a VM may contain.
type VMPolicy string

// The policies: restricted refuses what gives a guest power over its host.
const (
	PolicyRestricted   VMPolicy = "restricted"
	PolicyUnrestricted VMPolicy = "unrestricted"
)

// Listen is the address to listen on, "host:port".
func (c *API) Listen() string {
	return net.JoinHostPort(c.ListenAddress, strconv.Itoa(c.ListenPort))
}

// LoadAPI reads pvc-api.yaml. The error, if there is one, lists everything that is
// wrong with the file; its kind is then errs.Invalid and it wraps an *Error.
func LoadAPI(path string) (*API, []Warning, error) {
	data, mode, err := read(path)
	if err != nil {
		return nil, nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, err
	}
	c, warnings, err := ParseAPI(path, data, host)
	if err == nil && mode&0o007 != 0 && c.Auth.Enabled {
		warnings = append(warnings, readableByAll(path, mode))
	}
	return c, warnings, err
}

// ParseAPI reads the content of pvc-api.yaml; file is its name for messages, host
// the name of the machine.
func ParseAPI(file string, data []byte, host string) (*API, []Warning, error) {
	top, err := parse(file, data)
	if err != nil {
		return nil, nil, err
	}
	c := defaultAPI(file, host)
	name := c.Name
	l := load(file, top, apiEntries(c, &name))
	c.Name, host = shortName(name), c.Name
	checkName(l, c.Name, host)
	l.checkZooKeeper("pvc.zookeeper", c.ZooKeeper)
	checkAuth(l, c)
	if c.Debug {
		l.warn("pvc.debug", "the log is verbose; there is no development server, and TLS stays as configured")
	}
	warnings, err := l.result()
	if err != nil {
		return nil, warnings, err
	}
	return c, warnings, nil
}

func defaultAPI(file, host string) *API {
	return &API{
		File: file, Name: shortName(host),
		ZooKeeper:     ZooKeeper{SessionTimeout: 4 * time.Second, ACL: ACLOpen},
		ListenAddress: "127.0.0.1", ListenPort: 7370, FollowPrimary: true,
		VMPolicy:   PolicyRestricted,
		VMFileDirs: []string{"/var/lib/libvirt/images", "/var/lib/pvc"},
	}
}

// apiEntries is every key that pvc-api.yaml may have.
func apiEntries(c *API, name *string) []entry {
	const api, auth, tls = "pvc.api.", "pvc.api.authentication.", "pvc.api.ssl."
	withTLS := func() bool { return c.TLS.Enabled }
	return slices.Concat(
		[]entry{
			boolean("pvc.debug", &c.Debug),
			text("pvc.node", name),
			endpoints("pvc.coordinators", &c.Coordinators).required(),
		},
		zooKeeperEntries("pvc.zookeeper", &c.ZooKeeper),
		[]entry{
			value(api+"listen_address", "an IP address or a host name", &c.ListenAddress, listenHost),
			port(api+"listen_port", &c.ListenPort),
			boolean(api+"follow_primary", &c.FollowPrimary),
			word(api+"vm_policy", &c.VMPolicy, PolicyRestricted, PolicyUnrestricted),
			paths(api+"vm_file_directories", &c.VMFileDirs),
			boolean(api+"metrics_without_token", &c.MetricsWithoutToken),
			boolean(auth+"enabled", &c.Auth.Enabled).required(),
			secret(auth+"secret_key", &c.Auth.SecretKey),
			tokens(auth+"tokens", &c.Auth.Tokens),
			boolean(tls+"enabled", &c.TLS.Enabled),
			path(tls+"cert_file", &c.TLS.CertFile).requiredIf(withTLS),
			path(tls+"key_file", &c.TLS.KeyFile).requiredIf(withTLS),
		},
	)
}

func listenHost(s string) (string, bool) {
	e, ok := parseEndpoint("[" + strings.Trim(s, "[]") + "]")
	return e.Host, ok
}

const expectTokens = "a list of mappings with the keys description and token"

// tokens reads the list of tokens. Neither values nor unknown keys are shown: both
// may be a token in the wrong place.
func tokens(key string, to *[]Token) entry {
	return entry{key: key, expect: expectTokens, decode: func(n *yaml.Node) error {
		if n.Kind != yaml.SequenceNode {
			return fmt.Errorf("%s was expected", expectTokens)
		}
		for i, c := range n.Content {
			t, err := token(c)
			if err != nil {
				return fmt.Errorf("element %d (line %d): %w", i+1, c.Line, err)
			}
			*to = append(*to, t)
		}
		return nil
	}}
}

func token(n *yaml.Node) (Token, error) {
	var t Token
	if n.Kind != yaml.MappingNode {
		return t, fmt.Errorf("a mapping with the keys description and token was expected")
	}
	fields := map[string]*string{"description": &t.Description, "token": &t.Token.text}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		to, ok := fields[k.Value]
		if !ok {
			return t, fmt.Errorf("a key that is unknown or there twice; description and token were expected")
		}
		delete(fields, k.Value)
		s, ok := scalar(v)
		if ok {
			s, ok = oneLine(s)
		}
		if !ok && !isUnset(v) {
			return t, fmt.Errorf("%s: a text of one line was expected (the value is not shown)", k.Value)
		}
		*to = s
	}
	return t, nil
}

// checkAuth refuses what would let in who should stay outside.
func checkAuth(l *loader, c *API) {
	if !c.Auth.Enabled {
		if a, err := netip.ParseAddr(c.ListenAddress); err != nil || !a.IsLoopback() {
			l.warn("pvc.api.authentication.enabled", "authentication is off: everybody who reaches %s commands the cluster", c.Listen())
		}
		return
	}
	if n := len(c.Auth.SecretKey.text); n < MinSecretKey {
		l.fail("pvc.api.authentication.secret_key", "%d characters; with authentication at least %d were expected", n, MinSecretKey)
	}
	const key = "pvc.api.authentication.tokens"
	if len(c.Auth.Tokens) == 0 && !l.failed(key) {
		l.fail(key, "no token; with authentication at least one was expected")
	}
	first := map[string]int{}
	for i, t := range c.Auth.Tokens {
		if t.Token.Empty() {
			l.fail(key, "element %d (%q) has an empty token", i+1, t.Description)
			continue
		}
		if j, twice := first[t.Token.text]; twice {
			l.fail(key, "elements %d and %d have the same token", j, i+1)
			continue
		}
		first[t.Token.text] = i + 1
	}
}
