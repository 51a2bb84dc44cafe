package firewall

import "net/netip"

// match reports whether the next word begins a comparison, which is then read: one or
// more selectors, and what they are compared with.
func (p *parser) match() bool {
	if p.is("ct") && len(p.tokens) > 1 && p.tokens[1].text == "count" {
		p.take()
		p.take()
		p.accept("over")
		p.number()
		return true
	}
	kinds, settable, ok := p.selector()
	if !ok {
		return false
	}
	if settable && p.accept("set") {
		p.assigned()
		return true
	}
	for p.accept(".") {
		k, _, ok := p.selector()
		if !ok {
			p.wanted(p.peek(), "a selector after '.'")
		}
		kinds = append(kinds, k...)
	}
	if len(kinds) == 1 {
		for p.acceptOneOf(bitwise) {
			p.operand(kinds[0])
		}
	}
	p.acceptOneOf(comparisons)
	p.right(kinds)
	return true
}

// assigned is what DSCP or the segment size may be set to.
func (p *parser) assigned() {
	if p.accept("rt") {
		p.expect("mtu")
		return
	}
	p.value(symbol)
}

// selector reads what of a packet is looked at. kinds has one element: what it is
// compared with.
func (p *parser) selector() (kinds []kind, settable, ok bool) {
	t := p.peek()
	if t.kind != tokenWord {
		return nil, false, false
	}
	switch {
	case metaKeys[t.text]:
		p.take()
		return []kind{symbol}, false, true
	case t.text == "fib":
		p.take()
		p.fib()
		return []kind{symbol}, false, true
	case t.text == "numgen":
		p.take()
		p.numgen()
		return []kind{symbol}, false, true
	case headers[t.text] == nil:
		return nil, false, false
	}
	p.take()
	if t.text == "tcp" && p.accept("option") {
		return []kind{symbol}, p.option(), true
	}
	p.qualifiers(t.text)
	field := p.take()
	k, known := headers[t.text][field.text]
	if !known || field.kind != tokenWord {
		p.wanted(field, "a field of "+t.text)
	}
	return []kind{k}, field.text == "dscp", true
}

// qualifiers are the words that may stand between a header and its field.
func (p *parser) qualifiers(header string) {
	switch header {
	case "ct":
		p.acceptOneOf(words("original reply"))
		p.acceptOneOf(words("ip ip6"))
	case "rt":
		p.acceptOneOf(words("ip ip6"))
	}
}

// option reads a TCP option and its field and reports whether that may be set.
func (p *parser) option() (settable bool) {
	segment := p.is("maxseg")
	if p.peek().kind == tokenNumber {
		p.take()
	} else {
		p.oneOf(optionNames, "a TCP option")
	}
	size := p.is("size")
	p.acceptOneOf(optionFields)
	return segment && size
}

func (p *parser) fib() {
	keys := words("saddr daddr mark iif oif")
	p.oneOf(keys, "saddr, daddr, mark, iif or oif")
	for p.accept(".") {
		p.oneOf(keys, "saddr, daddr, mark, iif or oif")
	}
	p.oneOf(words("oif oifname type"), "oif, oifname or type")
}

func (p *parser) numgen() {
	p.oneOf(words("inc random"), "inc or random")
	p.expect("mod")
	p.number()
	if p.accept("offset") {
		p.number()
	}
}

// operand is the second half of a bitwise operation.
func (p *parser) operand(k kind) {
	if !p.accept("(") {
		p.value(k)
		return
	}
	p.value(k)
	for p.accept("|") {
		p.value(k)
	}
	p.expect(")")
}

// right reads the right side of a comparison: a set of plain elements, or values with
// commas between them; then perhaps the mask of flags.
func (p *parser) right(kinds []kind) {
	if p.accept("{") {
		p.element(kinds)
		for p.accept(",") {
			p.element(kinds)
		}
		p.expect("}")
		return
	}
	if len(kinds) == 1 && p.is("(") {
		p.operand(kinds[0])
		return
	}
	p.list(kinds)
	if len(kinds) == 1 && kinds[0] == symbol && p.accept("/") {
		p.list(kinds)
	}
}

func (p *parser) list(kinds []kind) {
	p.element(kinds)
	for len(kinds) == 1 && (p.accept(",") || p.accept("|")) {
		p.element(kinds)
	}
}

// element is one value, range or prefix for each selector.
func (p *parser) element(kinds []kind) {
	for i, k := range kinds {
		if i > 0 {
			p.expect(".")
		}
		t := p.value(k)
		if t.kind == tokenAddress && p.is("/") {
			p.prefix(t)
		} else if p.accept("-") {
			p.value(k)
		}
	}
}

func (p *parser) prefix(t token) {
	p.take()
	bits := p.peek()
	p.number()
	if _, err := netip.ParsePrefix(t.text + "/" + bits.text); err != nil && p.err == nil {
		p.fail(bits, "%s/%s is no network", t.text, bits.text)
	}
}

// value reads one literal.
func (p *parser) value(k kind) token {
	t := p.take()
	switch k {
	case address:
		if t.kind != tokenAddress {
			p.wanted(t, "an IP address")
		}
	case hardware:
		if t.kind != tokenMAC {
			p.wanted(t, "a MAC address")
		}
	default:
		p.symbol(t)
	}
	return t
}

func (p *parser) symbol(t token) {
	_, reserved := unsafe[t.text]
	reserved = reserved && !constants[t.text]
	switch {
	case t.kind == tokenNumber, t.kind == tokenDuration, t.kind == tokenString:
	case t.kind == tokenWord && !reserved && !statements[t.text]:
	default:
		p.wanted(t, "a number or name")
	}
}
