// Package auth says who makes a request: one of the configured tokens, given with
// the request or remembered by a session cookie. It compares in constant time,
// slows down guessing, and lets a removed token end its sessions.
package auth
