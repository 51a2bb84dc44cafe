package firewall

import "strings"

// kind is what a value that a packet is compared with may look like.
type kind uint8

const (
	// symbol is a number, a constant by its name, a duration or a quoted text.
	symbol kind = iota
	// address is an IP address or prefix; never a name, which nft would ask the DNS for.
	address
	// hardware is a MAC address.
	hardware
)

// headers are the selectors of two words, nft(8) "payload expressions" and "extension
// headers". A field that ends in "=" is an address, one in "@" a MAC address.
var headers = fields(map[string]string{
	"ether":   "saddr@ daddr@ type",
	"vlan":    "id pcp dei cfi type",
	"ip":      "version hdrlength dscp ecn length id frag-off ttl protocol checksum saddr= daddr=",
	"ip6":     "version dscp ecn flowlabel length nexthdr hoplimit saddr= daddr=",
	"icmp":    "type code checksum id sequence gateway= mtu",
	"icmpv6":  "type code checksum parameter-problem packet-too-big id sequence max-delay",
	"igmp":    "type mrt checksum group=",
	"tcp":     "sport dport sequence ackseq doff reserved flags window checksum urgptr",
	"udp":     "sport dport length checksum",
	"udplite": "sport dport checksum",
	"sctp":    "sport dport vtag checksum",
	"dccp":    "sport dport type",
	"th":      "sport dport",
	"ah":      "nexthdr hdrlength reserved spi sequence",
	"esp":     "spi sequence",
	"comp":    "nexthdr flags cpi",
	"hbh":     "nexthdr hdrlength",
	"frag":    "nexthdr reserved frag-off more-fragments id",
	"dst":     "nexthdr hdrlength",
	"mh":      "nexthdr hdrlength type reserved checksum",
	"rt":      "nexthdr hdrlength type seg-left nexthop= mtu classid",
	"exthdr":  "hbh frag rt dst mh srh",
	"meta": "length protocol l4proto nfproto priority mark iifname iiftype iifgroup oifname oiftype oifgroup " +
		"pkttype cpu random day hour time rtclassid ibrname obrname",
	"ct": "state status mark direction expiration helper label l3proto protocol saddr= daddr= proto-src proto-dst " +
		"bytes packets avgpkt zone id",
})

// metaKeys are those that may stand without "meta".
var metaKeys = words("mark iifname iiftype iifgroup oifname oiftype oifgroup pkttype cpu rtclassid")

var (
	optionFields = words("kind length size count left right tsval tsecr")
	optionNames  = words("eol nop maxseg window sack-perm sack-permitted sack sack0 sack1 sack2 sack3 timestamp md5sig mptcp fastopen")
	comparisons  = words("== != < > <= >= eq ne lt gt le ge")
	bitwise      = words("& | ^ << >> and or xor lshift rshift")
	verdicts     = words("accept drop continue return")
	timeUnits    = words("second minute hour day week")
	byteUnits    = words("bytes kbytes mbytes")
	rateUnits    = cross("bytes kbytes mbytes", "/", "second minute hour day week")
	levels       = words("alert crit err warn notice info debug")
)

// statements begin something that is no comparison; none of them names a constant.
var statements = words("accept drop continue return reject counter limit quota log comment")

// unsafe are words of nft that reach beyond the packet, with the reason for the message.
// Apart from those in constants, none of them is the name of a value.
var unsafe = map[string]string{
	"jump": "other chains cannot be named", "goto": "other chains cannot be named",
	"queue": "packets cannot be handed to programs", "fwd": "packets cannot be sent elsewhere", "dup": "packets cannot be copied",
	"dnat": "addresses cannot be translated", "snat": "addresses cannot be translated", "masquerade": "addresses cannot be translated",
	"tproxy": "packets cannot be sent elsewhere", "synproxy": "packets cannot be sent elsewhere", "notrack": "connection tracking cannot be switched off",
	"vmap": "maps are not allowed", "map": "maps are not allowed", "meter": "sets cannot be made", "set": "only DSCP and the TCP segment size can be set",
	"add": "a rule is needed, not a command", "insert": "a rule is needed, not a command", "delete": "a rule is needed, not a command",
	"update": "sets cannot be changed", "replace": "a rule is needed, not a command", "flush": "a rule is needed, not a command",
	"include": "files cannot be included", "define": "variables are not allowed", "undefine": "variables are not allowed", "redefine": "variables are not allowed",
	"table": "a rule is needed, not a table", "chain": "a rule is needed, not a chain", "flow": "flow tables are not allowed",
	"name": "named objects are not allowed", "iif": "indexes change when an interface is made anew; use iifname", "oif": "indexes change when an interface is made anew; use oifname",
}

// constants are those of unsafe that are values too: of "ct status".
var constants = words("dnat snat")

func words(list string) map[string]bool {
	out := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		out[w] = true
	}
	return out
}

func cross(first, between, second string) map[string]bool {
	out := map[string]bool{}
	for a := range strings.FieldsSeq(first) {
		for b := range strings.FieldsSeq(second) {
			out[a+between+b] = true
		}
	}
	return out
}

func fields(lists map[string]string) map[string]map[string]kind {
	out := map[string]map[string]kind{}
	for header, list := range lists {
		out[header] = map[string]kind{}
		for field := range strings.FieldsSeq(list) {
			k := symbol
			switch {
			case strings.HasSuffix(field, "="):
				k = address
			case strings.HasSuffix(field, "@"):
				k = hardware
			}
			out[header][strings.TrimRight(field, "=@")] = k
		}
	}
	return out
}
