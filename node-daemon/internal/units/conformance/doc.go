// Package conformance is the suite that every implementation of units.Units passes.
package conformance
