// Package service is the frame of a daemon: a group of loops that start in order and
// stop in reverse, signals, reloads, and the words systemd wants to hear.
package service
