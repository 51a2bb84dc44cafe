// Package lock is the shared lock of the old system's client library: contenders are
// ephemeral sequential children of the data znode itself, named
// <32 hex>__lock__<seq> (write) and <32 hex>__rlock__<seq> (read), ordered by their
// number alone. A write lock waits for the nearest lower contender of either kind, a
// read lock for the nearest lower write contender; other children do not count. So
// our locks and those of old clients exclude each other.
//
// The hexadecimal part is chosen here, so that a contender is found again when the
// answer to its creation was lost.
package lock
