// Package project holds the tests of rules that concern the whole tree: who may import
// whom, where cgo and external programs are allowed, that every package says what it
// is, that links in documents lead somewhere, and that every dependency has a reason.
//
// The rules are checked on the sources and not on the output of "go list", so that
// they hold for every build tag and platform, for tests too, and for a tree that does
// not compile at the moment.
package project
