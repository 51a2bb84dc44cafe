// Package httpapi is the HTTP API /api/v1. Every endpoint is a row of one table
// (routes.go): path, method, values, who may call it, handler. The router, the
// decoding of values, 404 and 405, the access check and the table test derive from
// it. A handler checks what its values mean, makes one call of package cluster or
// reads the view, and returns a reply; it never writes to the connection.
//
// # A request
//
// request id → log → panic guard → router → values (query, form, JSON) → who is it →
// is the view usable → handler → audit line → reply.
//
// # Prepared answers
//
// Each VM, node and network is rendered once per change and kept as bytes; the whole list and
// its compressed form are made at the first request after a change. A list of 10,000
// VMs is one Write of one slice.
package httpapi
