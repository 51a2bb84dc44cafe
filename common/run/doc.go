// Package run is the one way to start an external program: an argument vector, never
// a shell; a deadline after which the program and its children are killed; bounded
// output; errors that say what failed without showing a secret. Script is the
// stand-in for tests.
package run
