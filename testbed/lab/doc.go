// Package lab is for tests of a whole cluster that look at it as its users do: through the
// API, and from inside of Linux guests, on whose consoles commands are typed.
package lab
