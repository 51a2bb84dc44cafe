package firewall

import "github.com/parallelvirtualcluster/pvc/common/model"

// Grammar says whether a rule is one that may be tried: a line of matches and statements
// that can affect nothing but the packet in its chain. It does no I/O. The error is
// errs.Invalid and names the rule, the place and the reason.
func Grammar(rule string) error {
	tokens, err := lex(rule)
	if err != nil {
		return err
	}
	p := &parser{rule: rule, tokens: tokens}
	p.items()
	return p.err
}

// parser reads tokens from the left. The first error stays, and from then on it sees the
// end of the rule everywhere.
type parser struct {
	rule   string
	tokens []token
	err    error
}

func (p *parser) peek() token {
	if p.err != nil {
		return token{kind: tokenEnd, at: len(p.rule)}
	}
	return p.tokens[0]
}

func (p *parser) take() token {
	t := p.peek()
	if t.kind != tokenEnd {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *parser) fail(t token, format string, args ...any) {
	if p.err == nil {
		p.err = refuse(p.rule, t.at, format, args...)
	}
}

// wanted is the error of a token that is not what the grammar has at its place.
func (p *parser) wanted(t token, what string) {
	reason, known := unsafe[t.text]
	switch {
	case t.kind == tokenEnd:
		p.fail(t, "%s is needed at the end", what)
	case known && t.kind == tokenWord:
		p.fail(t, "%q is not allowed: %s", t.text, reason)
	default:
		p.fail(t, "%s is needed, not %q", what, model.Clip(t.text))
	}
}

// is reports whether the next token is that word or sign.
func (p *parser) is(text string) bool {
	t := p.peek()
	return t.text == text && (t.kind == tokenWord || t.kind == tokenPunct)
}

func (p *parser) accept(text string) bool {
	if p.is(text) {
		p.take()
		return true
	}
	return false
}

func (p *parser) acceptOneOf(set map[string]bool) bool {
	t := p.peek()
	if (t.kind == tokenWord || t.kind == tokenPunct) && set[t.text] {
		p.take()
		return true
	}
	return false
}

func (p *parser) expect(text string) {
	if !p.accept(text) {
		p.wanted(p.peek(), `"`+text+`"`)
	}
}

func (p *parser) oneOf(set map[string]bool, what string) {
	if !p.acceptOneOf(set) {
		p.wanted(p.peek(), what)
	}
}

func (p *parser) token(k tokenKind, what string) {
	if p.peek().kind != k {
		p.wanted(p.peek(), what)
		return
	}
	p.take()
}

func (p *parser) number() { p.token(tokenNumber, "a number") }
func (p *parser) quoted() { p.token(tokenString, "a quoted text of plain characters") }

// items is the whole rule: matches and statements, a verdict at their end, a comment.
func (p *parser) items() {
	const what = "a match, counter, limit, quota, log or verdict"
	if p.is("comment") || p.peek().kind == tokenEnd {
		p.wanted(p.peek(), what)
	}
	for p.peek().kind != tokenEnd && !p.is("comment") {
		if p.verdict() {
			break
		}
		if !p.statement() && !p.match() {
			p.wanted(p.peek(), what)
		}
	}
	if p.accept("comment") {
		p.quoted()
	}
	if t := p.peek(); t.kind != tokenEnd {
		p.fail(t, "%q comes after the verdict or the comment", model.Clip(t.text))
	}
}

// verdict reports whether a verdict was read: nothing comes after one.
func (p *parser) verdict() bool {
	if p.acceptOneOf(verdicts) {
		return true
	}
	if !p.accept("reject") {
		return false
	}
	if p.accept("with") {
		p.rejection()
	}
	return true
}

func (p *parser) rejection() {
	if p.accept("tcp") {
		p.expect("reset")
		return
	}
	p.oneOf(words("icmp icmpv6 icmpx"), `"tcp reset", "icmp", "icmpv6" or "icmpx"`)
	p.accept("type")
	p.value(symbol)
}

// statement reports whether the next word begins a statement, which is then read.
func (p *parser) statement() bool {
	switch {
	case p.accept("counter"):
		if p.accept("packets") {
			p.number()
			p.expect("bytes")
			p.number()
		}
	case p.accept("limit"):
		p.limit()
	case p.accept("quota"):
		p.acceptOneOf(words("over until"))
		p.size()
		if p.accept("used") {
			p.size()
		}
	case p.accept("log"):
		p.log()
	default:
		return false
	}
	return true
}

func (p *parser) size() {
	p.number()
	p.oneOf(byteUnits, "bytes, kbytes or mbytes")
}

func (p *parser) limit() {
	p.expect("rate")
	p.acceptOneOf(words("over until"))
	p.number()
	if !p.acceptOneOf(rateUnits) {
		p.acceptOneOf(byteUnits)
		p.expect("/")
		p.oneOf(timeUnits, "second, minute, hour, day or week")
	}
	if p.accept("burst") {
		p.number()
		if !p.accept("packets") {
			p.oneOf(byteUnits, "packets or a unit of bytes")
		}
	}
}

func (p *parser) log() {
	for {
		switch {
		case p.accept("prefix"):
			p.quoted()
		case p.accept("level"):
			p.oneOf(levels, "one of the levels alert, crit, err, warn, notice, info and debug")
		case p.accept("group"), p.accept("snaplen"), p.accept("queue-threshold"):
			p.number()
		case p.accept("flags"):
			p.logFlags()
		default:
			return
		}
	}
}

func (p *parser) logFlags() {
	switch {
	case p.accept("tcp"):
		options := words("sequence options")
		p.oneOf(options, "sequence or options")
		for p.accept(",") {
			p.oneOf(options, "sequence or options")
		}
	case p.accept("ip"):
		p.expect("options")
	default:
		p.oneOf(words("all skuid ether"), "tcp, ip, skuid, ether or all")
	}
}
