package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// ZooKeeperPort is the port of a coordinator that names none.
const ZooKeeperPort = 2181

// Endpoint is where a ZooKeeper server listens.
type Endpoint struct {
	Host string // name or IP address, without brackets
	Port int
}

// String gives "host:port", an IPv6 address in brackets.
func (e Endpoint) String() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// Servers returns the endpoints as coord.Options wants them.
func Servers(endpoints []Endpoint) []string {
	out := make([]string, len(endpoints))
	for i, e := range endpoints {
		out[i] = e.String()
	}
	return out
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9_-]{0,62}))*\.?$`)

func parseEndpoint(s string) (Endpoint, bool) {
	host, p := s, ZooKeeperPort
	if h, portText, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.Atoi(portText)
		if err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != portText {
			return Endpoint{}, false
		}
		host, p = h, n
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return Endpoint{a.String(), p}, true
	}
	if len(host) > 253 || !hostName.MatchString(host) {
		return Endpoint{}, false
	}
	return Endpoint{strings.ToLower(host), p}, true
}

// ACL says how the tree in ZooKeeper is protected.
type ACL string

// The protections: everybody may do everything, which old clients need, or one user
// and password for all daemons.
const (
	ACLOpen   ACL = "open"
	ACLDigest ACL = "digest"
)

// ZooKeeper says how to open a session.
type ZooKeeper struct {
	SessionTimeout time.Duration // requested
	ACL            ACL
	DigestFile     string // holds user:password; set if and only if ACL is digest
}

// Digest reads the user and password of the tree, "user:password"; empty for an
// open tree.
func (z ZooKeeper) Digest() (Secret, error) {
	if z.ACL != ACLDigest {
		return Secret{}, nil
	}
	s, err := ReadSecret(z.DigestFile)
	if err != nil {
		return Secret{}, fmt.Errorf("zookeeper digest: %w", err)
	}
	if user, password, ok := strings.Cut(s.text, ":"); !ok || user == "" || password == "" {
		return Secret{}, errs.Invalidf("zookeeper digest: %s does not hold user:password", z.DigestFile)
	}
	return s, nil
}

func zooKeeperEntries(section string, z *ZooKeeper) []entry {
	return []entry{
		seconds(section+".session_timeout", &z.SessionTimeout, 0.5, 600),
		word(section+".acl", &z.ACL, ACLOpen, ACLDigest),
		path(section+".digest_file", &z.DigestFile).requiredIf(func() bool { return z.ACL == ACLDigest }),
	}
}

// checkZooKeeper refuses a password file that nothing would use.
func (l *loader) checkZooKeeper(section string, z ZooKeeper) {
	if z.DigestFile != "" && z.ACL != ACLDigest {
		l.fail(section+".digest_file", "a file is given but %s.acl is %s; digest was expected", section, z.ACL)
	}
}
